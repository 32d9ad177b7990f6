//! Remotes behind a proxy of the network, as `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` name it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use ashlar_testbed::{Proxy, nginx};

use super::{from, project, tally};
use crate::support::{Project, Ran};

/// A proxy that connects everybody with one server, whatever they ask for, and remembers it.
struct Tunnel {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Tunnel {
    fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&asked);
        // It ends with the process: nothing tells it to.
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let noted = Arc::clone(&noted);
                std::thread::spawn(move || connect(client, server, &noted));
            }
        });
        Self { address, asked }
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

/// Reads what a client wants of a proxy, and hands the rest on. Whoever goes away ends it.
fn connect(mut client: TcpStream, server: SocketAddr, noted: &Mutex<Vec<String>>) -> Option<()> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        client.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    noted.lock().unwrap().push(String::from_utf8(head).unwrap());
    client.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").ok()?;
    let mut server = TcpStream::connect(server).ok()?;
    let (mut up, mut down) = (client.try_clone().ok()?, server.try_clone().ok()?);
    let answers = std::thread::spawn(move || {
        let ended = std::io::copy(&mut down, &mut client);
        client.shutdown(std::net::Shutdown::Both).and(ended.map(drop))
    });
    // Either end may be closed in the middle.
    let _ended = std::io::copy(&mut up, &mut server);
    let _ended = server.shutdown(std::net::Shutdown::Both);
    let _ended = answers.join();
    Some(())
}

fn run(project: &Project, store: &str, variables: &[(&str, &str)], args: &[&str]) -> Ran {
    let store = project.root.parent().unwrap().join(store);
    let mut command = project.command(args);
    for name in ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]
    {
        command.env_remove(name);
    }
    command.env_remove("no_proxy").env_remove("NO_PROXY");
    command.env("ASHLAR_STORE", store).envs(variables.iter().copied());
    Ran::of(&command.output().unwrap())
}

#[test]
fn a_place_behind_a_proxy() {
    let server = ashlar_testbed::nginx_dav(&nginx::Options { tls: true, ..Default::default() });
    let ca = server.certificates().unwrap().authority();
    let tunnel = Tunnel::to(server.address());
    let more = format!("ca = {ca:?}\ntimeout = \"2s\"\n");
    let project = project("https://cache.example/results", &more);
    let secret = "p4Lkm-proxy-secret";
    let through = format!("http://me:{secret}@{}", tunnel.address);
    let build = ["build", "--json", "lib"];
    let ran = run(&project, "first", &[("HTTPS_PROXY", &through)], &build).good();
    assert_eq!(tally(&ran, "team")["pushed"], 1, "{}", ran.err);
    let asked = tunnel.asked();
    assert!(!asked.is_empty());
    for head in asked {
        assert!(head.starts_with("CONNECT cache.example:443 HTTP/1.1\r\n"), "{head}");
        // `me` and the password, as the proxy wants to have them.
        assert!(head.to_ascii_lowercase().contains("proxy-authorization: basic "), "{head}");
    }
    let ran = run(&project, "second", &[("https_proxy", &through)], &build).good();
    assert_eq!(from(&ran), "lib:team");
    assert!(!tunnel.asked().is_empty());

    // Past the proxy there is nothing of this name; and the one for plain HTTP is another.
    for (number, variables) in [
        &[("HTTPS_PROXY", through.as_str()), ("NO_PROXY", "example")][..],
        &[("HTTPS_PROXY", through.as_str()), ("no_proxy", "other.example,cache.example")],
        &[("HTTP_PROXY", through.as_str())],
    ]
    .into_iter()
    .enumerate()
    {
        let store = format!("past-{number}");
        let ran = run(&project, &store, variables, &["build", "lib"]).good();
        ran.says("remote team is not used any more in this run");
        assert_eq!(tunnel.asked(), [""; 0], "{variables:?}");
    }

    // A proxy that is not there is a remote that is not there; its password is nobody's business.
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let dead = format!("http://me:{secret}@{nobody}");
    for args in [&["build", "lib", "--require-remote"][..], &["remote", "test"]] {
        let ran = run(&project, "fourth", &[("HTTPS_PROXY", &dead)], args).exits(4);
        assert!(!ran.out.contains(secret) && !ran.err.contains(secret), "{}{}", ran.out, ran.err);
    }
    let mut grep = std::process::Command::new("grep");
    let found = grep.args(["-rqF", secret]).arg(project.root.parent().unwrap()).status();
    assert_eq!(found.unwrap().code(), Some(1), "it is nowhere on the disk");
}

#[test]
fn what_is_on_this_machine_is_asked_without_a_proxy() {
    let server = ashlar_testbed::nginx_dav(&nginx::Options::default());
    let proxy = Proxy::http(server.address());
    let through = proxy.url();
    let variables = [("HTTP_PROXY", through.as_str()), ("ALL_PROXY", through.as_str())];
    let here = project(&format!("{}/results", server.url()), "");
    let ran = run(&here, "first", &variables, &["build", "--json", "lib"]).good();
    assert_eq!(tally(&ran, "team")["pushed"], 1);
    assert_eq!(proxy.connections(), 0);
    // Another machine is asked through it, in plain text only with leave.
    let there = project("http://cache.example/results", "insecure = true\ntimeout = \"2s\"\n");
    let ran = run(&there, "second", &variables, &["build", "--json", "lib"]).good();
    assert_eq!(from(&ran), "lib:team", "{}", ran.err);
    assert!(proxy.connections() > 0);
}
