use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicU32, Ordering};

use proptest::prelude::*;

use super::*;

/// A folder `inside` full of temptations, and what lies beside it.
struct Tree(PathBuf);

impl Tree {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("gatewright-files-{}-{number}", std::process::id()));
        fs::create_dir_all(path.join("inside/deep/er")).unwrap();
        fs::write(path.join("secret"), "secret").unwrap();
        let tree = Self(path);
        fs::write(tree.inside("file"), "file").unwrap();
        fs::write(tree.inside("deep/er/file"), "deeper").unwrap();
        for (name, target) in [
            ("to-file", "file"),
            ("to-deep", "deep"),
            ("to-er", "to-deep/er/"),
            ("deep/up", "../file"),
            ("deep/out", "../../secret"),
            ("deep/out-and-in", "../../inside/file"),
            ("out", ".."),
            ("absolute", "/etc/passwd"),
            ("loop", "loop"),
            ("dangling", "nothing"),
            ("magic", "/proc/self/root"),
        ] {
            symlink(target, tree.inside(name)).unwrap();
        }
        symlink(tree.inside("file"), tree.inside("absolute-inside")).unwrap();
        tree
    }

    fn inside(&self, name: &str) -> PathBuf {
        self.0.join("inside").join(name)
    }

    fn folder(&self, links: Links) -> Folder {
        Root::new(&self.0.join("inside"), links).unwrap().enter().unwrap()
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

fn shown(result: Result<Found, NotOpened>) -> String {
    match result {
        Ok(Found::File(file, metadata)) => {
            let text = io::read_to_string(file).unwrap();
            assert_eq!(text.len() as u64, metadata.len());
            text
        }
        Ok(Found::Folder(_)) => "folder".to_owned(),
        Err(error) => format!("{error:?}"),
    }
}

#[test]
fn what_is_beneath_is_opened_and_nothing_else() {
    let tree = Tree::new();
    // The path, and what comes of it where links are not followed, followed inside, and everywhere.
    for (path, results) in [
        ("", ["folder"; 3]),
        (".", ["folder"; 3]),
        ("file", ["file"; 3]),
        ("./file", ["file"; 3]),
        ("deep//er/./file", ["deeper"; 3]),
        ("deep/er", ["folder"; 3]),
        ("deep/er/", ["folder"; 3]),
        ("file/", ["NotAFolder"; 3]),
        ("file/.", ["NotAFolder"; 3]),
        ("file/x", ["NotAFolder"; 3]),
        ("nothing", ["Missing"; 3]),
        ("nothing/x", ["Missing"; 3]),
        ("deep\0", ["Missing"; 3]),
        ("/etc/passwd", ["Outside"; 3]),
        ("..", ["Outside"; 3]),
        ("../secret", ["Outside"; 3]),
        ("deep/../file", ["Outside"; 3]),
        ("to-file", ["Outside", "file", "file"]),
        ("to-deep", ["Outside", "folder", "folder"]),
        ("to-deep/er/file", ["Outside", "deeper", "deeper"]),
        ("to-er/file", ["Outside", "deeper", "deeper"]),
        ("deep/up", ["Outside", "file", "file"]),
        ("deep/out", ["Outside", "Outside", "secret"]),
        ("deep/out-and-in", ["Outside", "Outside", "file"]),
        ("out", ["Outside", "Outside", "folder"]),
        ("out/secret", ["Outside", "Outside", "secret"]),
        ("absolute-inside", ["Outside", "Outside", "file"]),
        ("loop", ["Outside"; 3]),
        ("dangling", ["Outside", "Missing", "Missing"]),
    ] {
        for (links, expected) in [Links::None, Links::Inside, Links::Any].into_iter().zip(results) {
            let folder = tree.folder(links);
            assert_eq!(shown(folder.open(path.as_bytes())), expected, "{path:?} {links:?}");
            // The way in one call gives the same, or nothing at all.
            let root = Root::new(&tree.inside(""), links).unwrap();
            let plain =
                root.open_plain(path.as_bytes()).map_or(expected.to_owned(), |found| shown(Ok(found)));
            assert_eq!(plain, expected, "{path:?} {links:?}");
            assert!(!root.lacks(path.as_bytes()) || ["Missing", "Outside"].contains(&expected), "{path:?}");
        }
    }
    let long = "x".repeat(256);
    let deep = "x/".repeat(3000);
    for path in [long, deep] {
        assert_eq!(shown(tree.folder(Links::Inside).open(path.as_bytes())), "Missing");
    }
}

#[test]
fn the_walk_finds_what_the_kernel_finds() {
    let tree = Tree::new();
    let folder = tree.folder(Links::Inside);
    let names = [
        "file",
        "deep",
        "er",
        "to-file",
        "to-deep",
        "to-er",
        "up",
        "out",
        "out-and-in",
        "absolute",
        "loop",
        "dangling",
        "magic",
        "nothing",
        "..",
        ".",
        "",
        "inside",
        "secret",
    ];
    let path = prop::collection::vec(prop::sample::select(names.to_vec()), 1..6);
    let mut runner = proptest::test_runner::TestRunner::new(crate::repeatable(2000));
    let told = |result: nix::Result<OwnedFd>| {
        result.map(|fd| std::os::unix::fs::MetadataExt::ino(&File::from(fd).metadata().unwrap()))
    };
    let case = (path, prop::bool::ANY, prop::bool::ANY);
    let result = runner.run(&case, |(path, follow, read)| {
        let path = path.join("/");
        let (links, flags) =
            (if follow { Links::Inside } else { Links::None }, if read { READ } else { LOOK });
        if path.is_empty() || path.starts_with('/') {
            return Ok(());
        }
        let kernel = beneath::open(folder.fd.as_fd(), path.as_bytes(), flags, links).expect("Linux 5.6");
        let kernel = told(kernel).map_err(|errno| shown(Err(errno.into())));
        let walked = told(walk(folder.fd.as_fd(), path.as_bytes(), flags, links));
        let walked = walked.map_err(|errno| shown(Err(errno.into())));
        prop_assert_eq!(kernel, walked, "{}", path);
        Ok(())
    });
    result.unwrap();
}

/// The one call must not follow any link: where it would lead, and whether it may, is a matter of the other way.
#[cfg(target_os = "linux")]
#[test]
fn one_call_does_where_there_is_no_link_at_all() {
    let tree = Tree::new();
    nix::unistd::mkfifo(&tree.inside("pipe"), Mode::S_IRWXU).unwrap();
    for links in [Links::None, Links::Inside, Links::Any] {
        let root = Root::new(&tree.inside("").canonicalize().unwrap(), links).unwrap();
        let opened = |path: &str| root.open_plain(path.as_bytes()).map(|found| shown(Ok(found)));
        for (path, expected) in [
            ("file", Some("file")),
            ("deep//er/./file", Some("deeper")),
            ("deep", Some("folder")),
            ("", Some("folder")),
            ("to-file", None),
            ("to-deep/er/file", None),
            ("deep/up", None),
            ("out/secret", None),
            ("absolute", None),
            ("absolute-inside", None),
            ("magic/etc/passwd", None),
            ("deep/../file", None),
            ("../secret", None),
            ("/etc/passwd", None),
            ("file\0", None),
            ("file/x", None),
            ("nothing", None),
            ("pipe", None),
        ] {
            assert_eq!(opened(path).as_deref(), expected, "{path:?} {links:?}");
        }
        for (path, lacks) in [("nothing", true), ("file", false), ("dangling", false), ("../secre", false)] {
            assert_eq!(root.lacks(path.as_bytes()), lacks, "{path:?}");
        }
    }
}

#[test]
fn a_folder_that_is_replaced_is_the_new_one_at_once() {
    let tree = Tree::new();
    let served = tree.0.canonicalize().unwrap().join("served");
    let release = |name: &str| {
        let path = tree.0.join(name);
        fs::create_dir(&path).unwrap();
        fs::write(path.join("file"), name).unwrap();
        path
    };
    fs::rename(release("first"), &served).unwrap();
    let root = Root::new(&served, Links::Inside).unwrap();
    let seen = || match root.open_plain(b"file") {
        Some(found) => shown(Ok(found)),
        None => shown(root.enter().map_err(NotOpened::Failed).and_then(|folder| folder.open(b"file"))),
    };
    assert_eq!(seen(), "first");
    // Another folder in its place, then a link, then a link to elsewhere.
    fs::rename(&served, tree.0.join("old")).unwrap();
    assert!(seen().starts_with("Failed"));
    fs::rename(release("second"), &served).unwrap();
    assert_eq!(seen(), "second");
    fs::remove_dir_all(&served).unwrap();
    for name in ["third", "fourth"] {
        symlink(release(name), tree.0.join("next")).unwrap();
        fs::rename(tree.0.join("next"), &served).unwrap();
        assert_eq!(seen(), name);
    }
    // Without links again.
    fs::remove_file(&served).unwrap();
    fs::rename(release("fifth"), &served).unwrap();
    assert_eq!(seen(), "fifth");
}

#[test]
fn special_files_neither_hang_nor_are_opened() {
    let tree = Tree::new();
    nix::unistd::mkfifo(&tree.inside("pipe"), Mode::S_IRWXU).unwrap();
    let _listener = UnixListener::bind(tree.inside("socket")).unwrap();
    let folder = tree.folder(Links::Any);
    symlink("/dev/zero", tree.inside("device")).unwrap();
    for name in ["pipe", "socket", "device"] {
        assert_eq!(shown(folder.open(name.as_bytes())), "Special", "{name}");
        let entry = folder.look(name.as_bytes()).unwrap();
        assert!(!entry.is_file() && !entry.is_folder());
    }
}

#[test]
fn a_program_need_not_be_readable_to_be_looked_at() {
    let tree = Tree::new();
    fs::set_permissions(tree.inside("file"), fs::Permissions::from_mode(0o111)).unwrap();
    let entry = tree.folder(Links::Inside).look(b"to-file").unwrap();
    assert!(entry.is_file());
    assert_eq!(entry.metadata().permissions().mode() & 0o777, 0o111);
}

#[test]
fn a_switched_link_is_seen_and_an_entered_folder_stays() {
    let tree = Tree::new();
    fs::create_dir(tree.0.join("next")).unwrap();
    fs::write(tree.0.join("next/file"), "next").unwrap();
    let current = tree.0.join("current");
    symlink("inside", &current).unwrap();
    let root = Root::new(&current, Links::Inside).unwrap();
    let before = root.enter().unwrap();
    fs::remove_file(&current).unwrap();
    symlink("next", &current).unwrap();
    assert_eq!(shown(root.enter().unwrap().open(b"file")), "next");
    assert_eq!(shown(before.open(b"file")), "file");
}

#[test]
fn names_are_bytes_and_bounded() {
    let tree = Tree::new();
    let folder = match tree.folder(Links::Inside).open(b"deep/er") {
        Ok(Found::Folder(folder)) => folder,
        other => panic!("{other:?}"),
    };
    let odd = OsStr::from_bytes(b"caf\xe9 \n");
    fs::write(tree.inside("deep/er").join(odd), "").unwrap();
    let (mut names, more) = folder.names(10).unwrap();
    names.sort();
    assert_eq!((names, more), (vec![odd.as_bytes().to_vec(), b"file".to_vec()], false));
    let (names, more) = folder.names(1).unwrap();
    assert_eq!((names.len(), more), (1, true));
}

#[test]
fn a_root_that_is_no_folder_is_an_error_at_once() {
    let tree = Tree::new();
    let kind = |name: &str| Root::new(&tree.inside(name), Links::Inside).unwrap_err().kind();
    assert_eq!(kind("nothing"), io::ErrorKind::NotFound);
    assert_eq!(kind("file"), io::ErrorKind::NotADirectory);
}

/// Between the look at a name and its opening somebody may put a link there: neither way is taken in by that.
#[test]
fn a_link_that_is_put_there_meanwhile_leads_nowhere_either() {
    let tree = Tree::new();
    fs::create_dir(tree.0.join("outer")).unwrap();
    fs::write(tree.0.join("outer/file"), "secret").unwrap();
    fs::create_dir(tree.inside("real")).unwrap();
    fs::write(tree.inside("real/file"), "inside").unwrap();
    symlink("../outer", tree.inside("trap")).unwrap();
    let root = Root::new(&tree.inside("").canonicalize().unwrap(), Links::Inside).unwrap();
    let folder = root.enter().unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // `current` is a folder at one moment, a link that leads out at the next.
            while !done.load(Ordering::Relaxed) {
                fs::rename(tree.inside("real"), tree.inside("current")).unwrap();
                fs::rename(tree.inside("current"), tree.inside("real")).unwrap();
                fs::rename(tree.inside("trap"), tree.inside("current")).unwrap();
                fs::rename(tree.inside("current"), tree.inside("trap")).unwrap();
            }
        });
        let (mut seen, mut wrong) = ([0; 2], None);
        while wrong.is_none() && (seen.contains(&0) || seen.iter().sum::<u32>() < 5000) {
            for (at, links) in [(0, Links::Inside), (1, Links::None)] {
                let kernel = shown(folder.open(b"current/file"));
                let plain =
                    root.open_plain(b"current/file").map_or("inside".to_owned(), |found| shown(Ok(found)));
                let walked = walk(folder.fd.as_fd(), b"current/file", READ, links);
                let walked = walked.map(|fd| io::read_to_string(File::from(fd)).unwrap());
                let walked = walked.unwrap_or_else(|errno| shown(Err(errno.into())));
                let expected = ["inside", "Missing", "Outside", "NotAFolder"];
                seen[at] += u32::from(walked == "inside");
                wrong = wrong.or([kernel, plain, walked]
                    .into_iter()
                    .find(|result| !expected.contains(&result.as_str())));
            }
        }
        // First of all, so that a failure ends.
        done.store(true, Ordering::Relaxed);
        assert_eq!(wrong, None);
    });
}
