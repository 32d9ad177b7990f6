//! A command without a network that reaches whoever runs it.

use std::io::{Read as _, Write as _};

use ashlar_execute::{GATEWAY_PORT, Gateway, Outcome};

use super::{run, view};
use crate::fixture::Fixture;

#[test]
fn a_gateway_is_all_that_a_command_reaches() {
    let fixture = Fixture::new();
    let script = format!(
        "wget -q -O - http://127.0.0.1:{GATEWAY_PORT}/ > /answer; cat /answer; \
         ! wget -q -O - http://127.0.0.1:{GATEWAY_PORT}/; grep -c : /proc/net/dev"
    );
    let mut asked = run(&fixture, &script);
    let (gateway, entrance) = Gateway::new().unwrap();
    view(&mut asked).gateway = Some(gateway.clone());
    let (outcome, text) = std::thread::scope(|scope| {
        let server = scope.spawn(|| {
            // Dropped after one answer, so that the second connection is refused.
            let listener = entrance.listener().unwrap().unwrap();
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let count = stream.read(&mut request).unwrap();
            assert!(request[..count].starts_with(b"GET / HTTP/1.1\r\n"));
            stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nfrom outside\n").unwrap();
        });
        let ended = fixture.run(&asked);
        gateway.close();
        server.join().unwrap();
        ended
    });
    assert!(matches!(outcome, Outcome::Succeeded(_)), "{text}");
    assert_eq!(text.lines().next(), Some("from outside"));
    assert!(text.ends_with("1\n"), "one interface, the loopback: {text}");
}

#[test]
fn a_gateway_that_nobody_answers_is_no_failure_of_ours() {
    let fixture = Fixture::new();
    let mut asked = run(&fixture, "! wget -q -O - http://127.0.0.1:3128/");
    let (gateway, entrance) = Gateway::new().unwrap();
    view(&mut asked).gateway = Some(gateway.clone());
    drop(entrance);
    let (outcome, text) = fixture.run(&asked);
    assert!(matches!(outcome, Outcome::Succeeded(_)), "{text}");
    // And one whose command never began has no socket.
    let (gateway, entrance) = Gateway::new().unwrap();
    gateway.close();
    assert!(entrance.listener().unwrap().is_none());
}
