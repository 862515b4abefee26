//! Which programs a folder holds: for whoever wants to try them.

use std::collections::VecDeque;

use super::choose::{is_copy, is_hidden, runnable};
use super::settings::ProgramSettings;
use crate::files::Folder;

/// Files and folders that are looked at before the search ends: a folder may hold a whole site.
const LOOKED_AT: usize = 2_000;

/// The paths of programs beneath `root`, each with its slash in front, those of outer folders first; at most `most`.
/// The second result says that there may be more.
pub(super) fn programs(root: &Folder, settings: &ProgramSettings, most: usize) -> (Vec<Vec<u8>>, bool) {
    let mut found = Vec::new();
    let mut left = LOOKED_AT;
    let mut folders = VecDeque::from([Vec::new()]);
    while let Some(folder) = folders.pop_front() {
        let Some((mut names, more)) = names(root, &folder, left) else { continue };
        left -= names.len();
        names.sort_unstable();
        for name in names {
            if is_hidden(&name) || is_copy(&name) {
                continue;
            }
            let path = [&folder[..], b"/", &name].concat();
            let Ok(entry) = root.look(path.get(1..).unwrap_or_default()) else { continue };
            if entry.is_folder() {
                folders.push_back(path);
            } else if runnable(&path, entry.metadata(), settings).is_ok() {
                if found.len() == most {
                    return (found, true);
                }
                found.push(path);
            }
        }
        if more || left == 0 {
            return (found, true);
        }
    }
    (found, false)
}

/// The names in a folder, if it may be read.
fn names(root: &Folder, folder: &[u8], most: usize) -> Option<(Vec<Vec<u8>>, bool)> {
    match folder.get(1..) {
        None => root.names(most).ok(),
        Some(path) => match root.open(path) {
            Ok(crate::files::Found::Folder(folder)) => folder.names(most).ok(),
            _ => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::Path;

    use super::*;
    use crate::files::{Links, Root};

    fn all(folder: &Path, settings: &ProgramSettings, most: usize) -> (Vec<String>, bool) {
        let root = Root::new(folder, Links::Inside).unwrap().enter().unwrap();
        let (found, more) = programs(&root, settings, most);
        (found.into_iter().map(|path| String::from_utf8(path).unwrap()).collect(), more)
    }

    #[test]
    fn what_would_be_run_is_found_and_nothing_else() {
        use std::hash::{BuildHasher, Hasher};
        let random = std::hash::RandomState::new().build_hasher().finish();
        let top = std::env::temp_dir().join(format!("gatewright-paths-{random:016x}"));
        fs::create_dir_all(top.join("sub/deep")).unwrap();
        for (name, mode) in [
            ("z", 0o755),
            ("a.cgi", 0o755),
            ("plain", 0o644),
            ("script.py", 0o644),
            (".hidden", 0o755),
            ("old~", 0o755),
            ("sub/b", 0o755),
            ("sub/deep/c", 0o755),
        ] {
            fs::write(top.join(name), "").unwrap();
            fs::set_permissions(top.join(name), PermissionsExt::from_mode(mode)).unwrap();
        }
        symlink("/bin/sh", top.join("out")).unwrap();
        symlink("z", top.join("link")).unwrap();
        let settings = ProgramSettings::default();
        let expected = ["/a.cgi", "/link", "/z", "/sub/b", "/sub/deep/c"].map(str::to_owned).to_vec();
        assert_eq!(all(&top, &settings, 5), (expected.clone(), false));
        assert_eq!(all(&top, &settings, 2), (expected[..2].to_vec(), true));
        let interpreters = vec![(".py".to_owned(), "/usr/bin/python3".into())];
        let settings = ProgramSettings { interpreters, ..settings };
        assert!(all(&top, &settings, 9).0.contains(&"/script.py".to_owned()));
        // A link to the folder itself leads round and round, but not for ever.
        symlink(".", top.join("sub/loop")).unwrap();
        assert!(all(&top, &settings, usize::MAX).0.len() <= LOOKED_AT);
        fs::remove_dir_all(top).unwrap();
    }
}
