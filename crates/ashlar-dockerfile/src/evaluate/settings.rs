//! Instructions that only change the configuration: what their words mean.

use std::time::Duration;

use ashlar_recipe::nearest;
use ashlar_recipe::written::Span;

use crate::Healthcheck;
use crate::report::Mistake;
use crate::written::{Command, Flag, Statement};

/// `ENV A=b C="d e"`, as it is shown.
pub(super) fn pairs(keyword: &str, pairs: &[(String, String)]) -> String {
    let mut text = keyword.to_owned();
    for (name, value) in pairs {
        text.push_str(&format!(" {name}={value}"));
    }
    text
}

/// `["a" "b"]`, as the history of images has it.
pub(super) fn quoted(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
    format!("[{}]", words.join(" "))
}

/// `["a", "b"]`.
pub(super) fn exec_form(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
    format!("[{}]", words.join(", "))
}

/// More ports than this in one range are refused.
const PORTS: u32 = 1 << 16;

/// The ports of a word of `EXPOSE`, and whether it also named one of the machine.
pub(super) fn ports(text: &str, span: Span) -> Result<(Vec<String>, bool), Mistake> {
    let wrong = |what: String| {
        Mistake::new(span, what).help("write PORT, PORT/udp or FIRST-LAST, from 1 to 65535")
    };
    let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(wrong(format!("`{protocol}` is no protocol of ports")));
    }
    let (range, address) = match range.rsplit_once(':') {
        Some((_, range)) => (range, true),
        None => (range, false),
    };
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let number = |text: &str| {
        let digits = !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
        text.parse::<u32>().ok().filter(|n| digits && (1..PORTS).contains(n))
    };
    let (Some(first), Some(last)) = (number(first), number(last)) else {
        return Err(wrong(format!("`{text}` is no port")));
    };
    if first > last {
        return Err(wrong(format!("the range `{text}` ends before it begins")));
    }
    Ok(((first..=last).map(|port| format!("{port}/{protocol}")).collect(), address))
}

/// The signals of Linux.
const SIGNALS: [&str; 33] = [
    "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL",
    "PIPE", "POLL", "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP",
    "TTIN", "TTOU", "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU",
];

/// Refuses what is no signal.
pub(super) fn check_signal(signal: &str, span: Span) -> Result<(), Mistake> {
    if let Ok(number) = signal.parse::<u32>() {
        if (1..=64).contains(&number) {
            return Ok(());
        }
        return Err(Mistake::new(span, format!("there is no signal {number}"))
            .help("signals have the numbers 1 to 64"));
    }
    let upper = signal.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let real_time = |prefix: &str| {
        name.strip_prefix(prefix).is_some_and(|rest| {
            rest.is_empty()
                || rest.starts_with(['+', '-']) && rest[1..].parse::<u32>().is_ok_and(|n| n <= 30)
        })
    };
    if SIGNALS.contains(&name) || name == "XFSZ" || real_time("RTMIN") || real_time("RTMAX") {
        return Ok(());
    }
    let mistake = Mistake::new(span, format!("`{signal}` is no signal"));
    Err(match nearest(name, SIGNALS) {
        Some(near) => mistake.help(format!("did you mean `SIG{near}`?")),
        None => mistake.help("write a name such as SIGTERM, or a number"),
    })
}

/// `HEALTHCHECK`, with its flags.
pub(super) fn healthcheck(
    statement: &Statement,
    command: Option<&Command>,
) -> Result<Healthcheck, Mistake> {
    let test = match command {
        None => vec!["NONE".to_owned()],
        Some(Command::Shell(word)) => vec!["CMD-SHELL".to_owned(), word.text.clone()],
        Some(Command::Exec(words)) => {
            std::iter::once("CMD".to_owned()).chain(words.iter().cloned()).collect()
        }
    };
    let time = |name: &str| statement.flag(name).map_or(Ok(None), time);
    let mut retries = None;
    if let Some(flag) = statement.flag("retries") {
        let text = flag.value.as_deref().unwrap_or_default();
        let number = text.parse::<u32>().ok().filter(|n| *n <= i32::MAX.unsigned_abs());
        let Some(number) = number else {
            return Err(Mistake::new(flag.span, format!("`{text}` is no number of retries")));
        };
        // 0 means what is usual, and so does nothing at all.
        retries = Some(number).filter(|number| *number > 0);
    }
    Ok(Healthcheck {
        test,
        interval: time("interval")?,
        timeout: time("timeout")?,
        start_period: time("start-period")?,
        start_interval: time("start-interval")?,
        retries,
    })
}

/// A time of a flag; 0 means what is usual.
fn time(flag: &Flag) -> Result<Option<Duration>, Mistake> {
    let text = flag.value.as_deref().unwrap_or_default();
    let Some(time) = duration(text) else {
        return Err(Mistake::new(flag.span, format!("`{text}` is no time"))
            .help("write a number and a unit: `30s`, `1m30s`, `500ms`"));
    };
    if !time.is_zero() && time < Duration::from_millis(1) {
        return Err(Mistake::new(flag.span, format!("`{text}` is shorter than a millisecond")));
    }
    Ok(Some(time).filter(|time| !time.is_zero()))
}

/// A duration as Go writes it: `1h2m3.5s`.
fn duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    let mut nanoseconds: u128 = 0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(end);
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, next) = after.split_at(end);
        let unit: u128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        let (whole, part) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && part.is_empty() || part.contains('.') {
            return None;
        }
        let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        nanoseconds = nanoseconds.checked_add(whole.checked_mul(unit)?)?;
        let part = part.get(..part.len().min(9))?;
        if !part.is_empty() {
            let scale = 10u128.checked_pow(u32::try_from(part.len()).ok()?)?;
            nanoseconds += part.parse::<u128>().ok()? * unit / scale;
        }
        rest = next;
    }
    // What Go's int64 of nanoseconds holds: 292 years.
    let nanoseconds = u64::try_from(nanoseconds).ok().filter(|n| i64::try_from(*n).is_ok())?;
    Some(Duration::from_nanos(nanoseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, expected) in [
            ("0", Some(0)),
            ("5s", Some(5_000_000_000)),
            ("1m30s", Some(90_000_000_000)),
            ("1.5h", Some(5_400_000_000_000)),
            ("500ms", Some(500_000_000)),
            (".5s", Some(500_000_000)),
            ("10us", Some(10_000)),
            ("", None),
            ("5", None),
            ("s", None),
            ("-5s", None),
            ("5x", None),
            ("1.2.3s", None),
            ("999999999999999h", None),
        ] {
            assert_eq!(duration(text), expected.map(Duration::from_nanos), "{text}");
        }
    }

    #[test]
    fn signals() {
        for good in ["SIGTERM", "sigterm", "KILL", "9", "64", "SIGRTMIN+3", "RTMAX-1", "SIGXFSZ"] {
            assert!(check_signal(good, Span::default()).is_ok(), "{good}");
        }
        for bad in ["", "0", "65", "SIGNOTHING", "RTMIN+", "RTMIN+99", "TERM TERM"] {
            assert!(check_signal(bad, Span::default()).is_err(), "{bad}");
        }
    }
}
