//! Who `USER` and `--chown` mean, by the `/etc/passwd` and `/etc/group` of an image.
//!
//! The rules are those of Docker: a number is always an id and need not be listed; a name has to
//! be. Lines that cannot be read are passed over.

use std::borrow::Cow;

/// Who runs a command, in ids as they are inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The user id.
    pub uid: u32,
    /// The group id.
    pub gid: u32,
    /// The supplementary groups.
    pub groups: Vec<u32>,
    /// The value of `HOME` where the request's environment has none.
    pub home: String,
}

impl Default for User {
    /// Root of an image without `/etc/passwd`.
    fn default() -> Self {
        Self { uid: 0, gid: 0, groups: Vec::new(), home: "/".into() }
    }
}

/// Why a text names nobody.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UserError {
    /// A name that is not listed.
    #[error(
        "there is no user `{0}` in the image's /etc/passwd: add it in an earlier RUN, or write \
         its number"
    )]
    NoUser(String),
    /// A name that is not listed.
    #[error(
        "there is no group `{0}` in the image's /etc/group: add it in an earlier RUN, or write \
         its number"
    )]
    NoGroup(String),
    /// A number that cannot be an id.
    #[error("{0} is no id: ids in an image go from 0 to {MOST}")]
    OutOfRange(String),
}

/// The highest id that exists inside a sandbox.
pub(crate) const MOST: u32 = 65_535;

impl User {
    /// Who a `USER` instruction means: `user`, `user:group`, each by name or number; empty for
    /// root. Without a group it is that of the user's entry, with every group that lists the
    /// user's name; a number without an entry has group 0.
    ///
    /// # Errors
    /// A name that is not listed, a number out of range.
    pub fn resolve(text: &str, passwd: &[u8], group: &[u8]) -> Result<Self, UserError> {
        let (user, wanted) = split(text);
        let number = number(user)?;
        let entry = match (user, number) {
            ("", _) => entry(passwd, |entry| entry.uid == 0),
            (_, Some(uid)) => entry(passwd, |entry| entry.uid == uid),
            (name, None) => Some(
                entry(passwd, |entry| entry.name == name)
                    .ok_or_else(|| UserError::NoUser(name.to_owned()))?,
            ),
        };
        let mut found = Self { uid: number.unwrap_or_default(), ..Self::default() };
        if let Some(entry) = &entry {
            (found.uid, found.gid) = (in_range(entry.uid)?, in_range(entry.gid)?);
            if !entry.home.is_empty() {
                found.home = entry.home.clone();
            }
        }
        match (wanted, entry) {
            (Some(wanted), _) => found.gid = gid(wanted, group)?,
            (None, Some(entry)) => {
                let listed = lines(group).filter(|(_, fields)| {
                    fields.get(3).is_some_and(|all| all.split(',').any(|one| one == entry.name))
                });
                let ids = listed.filter_map(|(_, fields)| fields.get(2)?.trim().parse().ok());
                found.groups = ids.filter(|gid| *gid <= MOST).collect();
            }
            (None, None) => {}
        }
        Ok(found)
    }
}

/// Whose files `--chown` makes: as [`User::resolve`], but a number without a group is the group's
/// as well. User id and group id.
///
/// # Errors
/// As [`User::resolve`].
pub fn resolve_owner(text: &str, passwd: &[u8], group: &[u8]) -> Result<(u32, u32), UserError> {
    let (user, wanted) = split(text);
    let (uid, own) = match number(user)? {
        Some(uid) => (uid, uid),
        None => {
            let found = User::resolve(user, passwd, group)?;
            (found.uid, found.gid)
        }
    };
    Ok((uid, wanted.map_or(Ok(own), |wanted| gid(wanted, group))?))
}

/// User and group of `user:group`; an empty group is none.
fn split(text: &str) -> (&str, Option<&str>) {
    match text.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
        None => (text, None),
    }
}

/// The number that a text is, if it is one.
fn number(text: &str) -> Result<Option<u32>, UserError> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    match text.parse() {
        Ok(id) if id <= MOST => Ok(Some(id)),
        _ => Err(UserError::OutOfRange(text.to_owned())),
    }
}

fn in_range(id: u32) -> Result<u32, UserError> {
    if id <= MOST { Ok(id) } else { Err(UserError::OutOfRange(id.to_string())) }
}

fn gid(wanted: &str, group: &[u8]) -> Result<u32, UserError> {
    if let Some(number) = number(wanted)? {
        return Ok(number);
    }
    let mut ids = lines(group)
        .filter(|(name, _)| name == wanted)
        .filter_map(|(_, fields)| fields.get(2)?.trim().parse().ok());
    in_range(ids.next().ok_or_else(|| UserError::NoGroup(wanted.to_owned()))?)
}

struct Entry {
    name: String,
    uid: u32,
    gid: u32,
    home: String,
}

fn entry(passwd: &[u8], is: impl Fn(&Entry) -> bool) -> Option<Entry> {
    lines(passwd)
        .filter_map(|(name, fields)| {
            let id = |at: usize| fields.get(at).and_then(|text| text.trim().parse().ok());
            let home = fields.get(5).cloned().unwrap_or_default();
            Some(Entry { name, uid: id(2)?, gid: id(3)?, home })
        })
        .find(is)
}

/// The lines that have a name, each with all of its fields.
fn lines(text: &[u8]) -> impl Iterator<Item = (String, Vec<String>)> {
    text.split(|byte| *byte == b'\n').filter_map(|line| {
        let line: Cow<'_, str> = String::from_utf8_lossy(line);
        let fields: Vec<String> = line.trim().split(':').map(str::to_owned).collect();
        let name = fields.first()?.clone();
        (!name.is_empty() && !name.starts_with('#')).then_some((name, fields))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/sh\nbroken line\n# no:x:7:7::/:\n\
        app:x:1000:1001:App:/home/app:/bin/sh\nlow:x:9:9::\nfar:x:99999999:1::/:\n";
    const GROUP: &[u8] = b"root:x:0:root\nadm:x:4:syslog,app\nwheel:x:10:root,app\nbad:x:x:app\n\
        app:x:1001:\nmine:x:2000:\n";

    fn user(text: &str) -> Result<(u32, u32, Vec<u32>, String), UserError> {
        User::resolve(text, PASSWD, GROUP).map(|u| (u.uid, u.gid, u.groups, u.home))
    }

    #[test]
    fn names_and_numbers() {
        let app = (1000, 1001, vec![4, 10], "/home/app".to_owned());
        assert_eq!(user("app"), Ok(app.clone()));
        assert_eq!(user("1000"), Ok(app.clone()));
        assert_eq!(user("app:"), Ok(app));
        assert_eq!(user(""), Ok((0, 0, vec![0, 10], "/root".into())));
        assert_eq!(user("low"), Ok((9, 9, vec![], "/".into())));
        assert_eq!(user("77"), Ok((77, 0, vec![], "/".into())));
        // With a group there are no others.
        assert_eq!(user("app:mine"), Ok((1000, 2000, vec![], "/home/app".into())));
        assert_eq!(user("77:88"), Ok((77, 88, vec![], "/".into())));
        assert_eq!(user(":mine"), Ok((0, 2000, vec![], "/root".into())));
    }

    #[test]
    fn unknown_names_and_far_numbers_are_errors() {
        assert_eq!(user("nobody"), Err(UserError::NoUser("nobody".into())));
        assert_eq!(user("app:none"), Err(UserError::NoGroup("none".into())));
        assert_eq!(user("app:bad"), Err(UserError::NoGroup("bad".into())));
        assert_eq!(user("65536"), Err(UserError::OutOfRange("65536".into())));
        assert_eq!(user("far"), Err(UserError::OutOfRange("99999999".into())));
        assert_eq!(user("-1"), Err(UserError::NoUser("-1".into())));
        assert_eq!(
            user("99999999999999999999").unwrap_err().to_string().find("is no id"),
            Some(21)
        );
    }

    #[test]
    fn owners_of_copies() {
        let owner = |text: &str| resolve_owner(text, PASSWD, GROUP);
        assert_eq!(owner("app"), Ok((1000, 1001)));
        assert_eq!(owner("app:mine"), Ok((1000, 2000)));
        assert_eq!(owner("1000"), Ok((1000, 1000)));
        assert_eq!(owner("5:6"), Ok((5, 6)));
        assert_eq!(owner("5:app"), Ok((5, 1001)));
        assert_eq!(owner("gone"), Err(UserError::NoUser("gone".into())));
        // An image without these files.
        assert_eq!(resolve_owner("0:0", b"", b""), Ok((0, 0)));
        assert_eq!(User::resolve("", b"", b""), Ok(User::default()));
    }
}
