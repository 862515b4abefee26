//! Which program answers a request.

use std::ffi::{CString, OsStr};
use std::fs::Metadata;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::settings::ProgramSettings;
use crate::environ::{Known, Vars};
use crate::error::{Error, Fault, os_reason};
use crate::files::{self, Found, Links, NotOpened, Root};

/// How much of a client's path is worth a place in the log.
const SHOWN: usize = 200;

/// What `cgi:PATH` names.
#[derive(Debug)]
pub(super) enum Source {
    /// One program for every request.
    Program(PathBuf),
    /// A folder of programs.
    Folder(Folder),
    /// Whatever the request names, or one of these, as fcgiwrap does it.
    Named(Vec<PathBuf>),
}

/// The program for a request; the request's variables say by which path it was found.
#[derive(Debug)]
pub(super) struct Choice {
    /// Its absolute path.
    pub(super) path: CString,
    /// What runs it, where the file itself cannot be executed.
    pub(super) interpreter: Option<CString>,
    /// What could, if the file turns out to have no header.
    pub(super) fallback: Option<CString>,
}

impl Source {
    /// Looks at what is there.
    pub(super) fn open(path: &Path, settings: &ProgramSettings) -> io::Result<Self> {
        let absolute = std::path::absolute(path)?;
        if !std::fs::metadata(&absolute)?.is_dir() {
            return Ok(Source::Program(absolute));
        }
        let links = if settings.follow_links { Links::Any } else { Links::Inside };
        let (root, canonical) = (Root::new(&absolute, links)?, std::fs::canonicalize(&absolute)?);
        Ok(Source::Folder(Folder { root, canonical }))
    }

    /// The folder, where it is one.
    pub(super) fn folder(&self) -> Option<&Path> {
        match self {
            Source::Folder(folder) => Some(folder.root.path()),
            Source::Program(_) | Source::Named(_) => None,
        }
    }

    /// The paths of the folder's programs, in order; see [`CgiPrograms::paths`](super::CgiPrograms::paths).
    pub(super) fn paths(&self, most: usize, settings: &ProgramSettings) -> io::Result<(Vec<Vec<u8>>, bool)> {
        match self {
            Source::Program(_) => Ok((vec![Vec::new()], false)),
            Source::Folder(folder) => folder.paths(most, settings),
            Source::Named(_) => Ok((Vec::new(), false)),
        }
    }

    /// Chooses, and sets SCRIPT_NAME, PATH_INFO and SCRIPT_FILENAME to what that means.
    pub(super) fn choose(&self, vars: &mut Vars, settings: &ProgramSettings) -> Result<Choice, Error> {
        match self {
            Source::Program(path) => {
                let found = look_at(path)?;
                vars.set_default("SCRIPT_FILENAME", path.as_os_str().as_bytes());
                runnable(path.as_os_str().as_bytes(), &found, settings)
            }
            Source::Folder(folder) => {
                let (path, found) = folder.choose(vars, settings)?;
                vars.set("SCRIPT_FILENAME", &path);
                runnable(&path, &found, settings)
            }
            Source::Named(allowed) => named(vars, allowed, settings),
        }
    }
}

/// The program that SCRIPT_FILENAME names, else DOCUMENT_ROOT and SCRIPT_NAME, shortened to a regular file. fcgiwrap has one
/// answer to whatever is wrong with it.
fn named(vars: &mut Vars, allowed: &[PathBuf], settings: &ProgramSettings) -> Result<Choice, Error> {
    let path = match vars.get("SCRIPT_FILENAME").map(<[u8]>::to_vec) {
        Some(path) => path,
        None => shortened(vars)?,
    };
    if !path.starts_with(b"/") {
        return Err(forbidden(format!("{}: a program is named by its absolute path", path.escape_ascii())));
    }
    if !allowed.is_empty() && !allowed.iter().any(|one| one.as_os_str().as_bytes() == path) {
        return Err(forbidden(format!("{} is not among the programs of -p", path.escape_ascii())));
    }
    // fcgiwrap's one answer, also where there is none.
    let found = look_at(Path::new(OsStr::from_bytes(&path))).map_err(|error| forbidden(error.to_string()))?;
    runnable(&path, &found, settings)
}

/// DOCUMENT_ROOT and SCRIPT_NAME together, without what stands behind a regular file: that is PATH_INFO.
fn shortened(vars: &mut Vars) -> Result<Vec<u8>, Error> {
    let root = vars.get("DOCUMENT_ROOT").map(<[u8]>::to_vec);
    let name = vars.known(Known::ScriptName).map(<[u8]>::to_vec);
    let (Some(root), Some(name)) = (root, name) else {
        let message =
            "the web server names no program: SCRIPT_FILENAME is missing, or DOCUMENT_ROOT or SCRIPT_NAME";
        return Err(forbidden(message.to_owned()));
    };
    let whole = [&*root, &name].concat();
    let mut end = whole.len();
    loop {
        let path = whole.get(..end).unwrap_or_default();
        if std::fs::metadata(OsStr::from_bytes(path)).is_ok_and(|found| found.is_file()) {
            break;
        }
        // Never shorter than the folder itself.
        end = match memchr::memrchr(b'/', path) {
            Some(slash) if slash > root.len().saturating_sub(1) => slash,
            _ => {
                let shown = whole.get(..SHOWN).unwrap_or(&whole).escape_ascii();
                return Err(forbidden(format!("{shown}: no such program")));
            }
        };
    }
    let (path, info) = whole.split_at_checked(end).unwrap_or((&whole, &[]));
    if !info.is_empty() {
        // A slash at the end of SCRIPT_NAME has been moved there for who takes that as it is.
        let moved: &[u8] = if vars.known(Known::PathInfo) == Some(b"/") { b"/" } else { b"" };
        vars.set("PATH_INFO", [info, moved].concat());
        vars.set("SCRIPT_NAME", path.get(root.len()..).unwrap_or_default());
    }
    Ok(path.to_vec())
}

/// Looks at a file that the administrator, or the web server, names by its absolute path.
fn look_at(path: &Path) -> Result<Metadata, Error> {
    std::fs::metadata(path).map_err(|error| {
        let path = path.as_os_str().as_bytes();
        let shown = path.get(..SHOWN).unwrap_or(path).escape_ascii();
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
                not_found(format!("{shown}: no such program"))
            }
            _ => forbidden(format!("{shown}: {}", os_reason(&error))),
        }
    })
}

/// Whether and how a file can be run.
fn runnable(path: &[u8], found: &Metadata, settings: &ProgramSettings) -> Result<Choice, Error> {
    let shown = path.escape_ascii();
    if !found.is_file() {
        return Err(forbidden(format!("{shown} is no regular file")));
    }
    let interpreter = interpreter(path, settings);
    let no_nul = |_| forbidden(format!("{shown} has a NUL"));
    let path = CString::new(path).map_err(no_nul)?;
    if found.permissions().mode() & 0o111 != 0 {
        return Ok(Choice { path, interpreter: None, fallback: interpreter });
    }
    match interpreter {
        Some(interpreter) => Ok(Choice { path, interpreter: Some(interpreter), fallback: None }),
        None => Err(forbidden(format!(
            "{shown} is not executable: chmod +x it, or name what runs it by --interpreter"
        ))),
    }
}

/// What runs files of that name.
fn interpreter(path: &[u8], settings: &ProgramSettings) -> Option<CString> {
    let named = settings.interpreters.iter().find(|(end, _)| path.ends_with(end.as_bytes()));
    named.and_then(|(_, program)| CString::new(program.as_os_str().as_bytes()).ok())
}

// The messages are for the log: neither status shows one to the client.
fn forbidden(message: String) -> Error {
    Error::new(Fault::Application, 403, message)
}

fn not_found(message: String) -> Error {
    Error::new(Fault::Application, 404, message)
}

fn refused(why: NotOpened, path: &[u8], root: &Path) -> Error {
    let shown = path.get(..SHOWN).unwrap_or(path).escape_ascii();
    match why {
        NotOpened::Missing | NotOpened::NotAFolder => {
            not_found(format!("{shown}: no such program in {}", root.display()))
        }
        NotOpened::Outside => forbidden(format!(
            "{shown}: a symbolic link leads out of the folder of programs; --follow-links allows that"
        )),
        NotOpened::Failed(error) => {
            Error::new(Fault::Gateway, 503, "a program cannot be looked for").with_source(error)
        }
        why => forbidden(format!("{shown}: {why}")),
    }
}

/// A folder of programs.
#[derive(Debug)]
pub(super) struct Folder {
    /// As the administrator wrote it.
    root: Root,
    /// Without symbolic links: web servers may say either.
    canonical: PathBuf,
}

/// A file at the beginning of a path.
struct AtPath<'p> {
    /// The path up to the file, and what follows.
    file: &'p [u8],
    rest: &'p [u8],
    metadata: Metadata,
}

impl Folder {
    /// The absolute path of the program, and what it is.
    fn choose(&self, vars: &mut Vars, settings: &ProgramSettings) -> Result<(Vec<u8>, Metadata), Error> {
        let folder = self.root.enter().map_err(|error| {
            Error::new(Fault::Gateway, 503, "the folder of programs cannot be entered").with_source(error)
        })?;
        let (folder, root) = (&folder, self.root.path());
        if let Some(given) = vars.get("SCRIPT_FILENAME").map(<[u8]>::to_vec)
            && let Some(inside) = self.inside(&given)
        {
            let found = walk(folder, inside, root)?;
            trim_script_name(vars, found.rest);
            return Ok((self.path_of(found.file), found.metadata));
        }
        let script = vars.known(Known::ScriptName).unwrap_or_default().to_vec();
        let info = vars.known(Known::PathInfo).unwrap_or_default().to_vec();
        // SCRIPT_NAME is the program's where it names one, else where the folder is mounted. The program that it names
        // comes first: the web server's rules were about that one.
        let named =
            if settings.mounted || script.is_empty() { None } else { walk(folder, &script, root).ok() };
        if let Some(found) = named {
            vars.set("SCRIPT_NAME", found.file);
            vars.set("PATH_INFO", [found.rest, &info].concat());
            return Ok((self.path_of(found.file), found.metadata));
        }
        let path = if info.is_empty() && !settings.mounted { &script } else { &info };
        let found = walk(folder, path, root)?;
        let mount: &[u8] = if info.is_empty() && !settings.mounted { b"" } else { &script };
        vars.set("SCRIPT_NAME", [mount, found.file].concat());
        vars.set("PATH_INFO", found.rest);
        Ok((self.path_of(found.file), found.metadata))
    }

    /// The part of a file's name behind the folder, with its slash, if it lies inside.
    fn inside<'p>(&self, name: &'p [u8]) -> Option<&'p [u8]> {
        [self.root.path(), &self.canonical].into_iter().find_map(|folder| {
            let folder = folder.as_os_str().as_bytes();
            let folder = folder.strip_suffix(b"/").unwrap_or(folder);
            name.strip_prefix(folder).filter(|rest| rest.starts_with(b"/") && rest.len() > 1)
        })
    }

    /// Looks through the folder, but not for ever: links may lead in circles.
    fn paths(&self, most: usize, settings: &ProgramSettings) -> io::Result<(Vec<Vec<u8>>, bool)> {
        const LOOKS: usize = 10_000;
        const DEPTH: usize = 8;
        let root = self.root.enter()?;
        let (mut found, mut looks, mut folders) = (Vec::new(), 0, vec![Vec::new()]);
        while let Some(folder) = folders.pop() {
            if folder.iter().filter(|byte| **byte == b'/').count() >= DEPTH {
                continue;
            }
            let Ok(Found::Folder(inside)) = root.open(&folder) else { continue };
            let Ok((names, _)) = inside.names(LOOKS) else { continue };
            for name in names.into_iter().filter(|name| hidden(name).is_none()) {
                looks += 1;
                if looks > LOOKS {
                    break;
                }
                let path = if folder.is_empty() { name } else { [&*folder, b"/", &name].concat() };
                match root.look(&path) {
                    Ok(entry) if entry.is_folder() => folders.push(path),
                    Ok(entry) if entry.is_file() && !is_copy(&path) => {
                        let runs = entry.metadata().permissions().mode() & 0o111 != 0;
                        if runs || interpreter(&path, settings).is_some() {
                            found.push([b"/", &*path].concat());
                        }
                    }
                    _ => {}
                }
            }
        }
        found.sort_unstable();
        let more = found.len() > most || looks > LOOKS;
        found.truncate(most);
        Ok((found, more))
    }

    fn path_of(&self, file: &[u8]) -> Vec<u8> {
        let folder = self.root.path().as_os_str().as_bytes();
        [folder.strip_suffix(b"/").unwrap_or(folder), file].concat()
    }
}

/// Goes down the path to the first file that is no folder; `root` is the folder's name for the log.
fn walk<'p>(folder: &files::Folder, path: &'p [u8], root: &Path) -> Result<AtPath<'p>, Error> {
    let shown = || path.get(..SHOWN).unwrap_or(path).escape_ascii();
    let inner = path.strip_prefix(b"/").ok_or_else(|| not_found(format!("\"{}\" is no path", shown())))?;
    if inner.is_empty() {
        return Err(not_found("the path \"/\" names no program".to_owned()));
    }
    let mut end = 0;
    for segment in inner.split(|byte| *byte == b'/') {
        // With the slash before it.
        end += 1 + segment.len();
        let (file, rest) = path.split_at_checked(end).unwrap_or((path, &[]));
        if let Some(why) = hidden(segment) {
            return Err(not_found(format!("{}: {why}", shown())));
        }
        let entry = folder.look(file.get(1..).unwrap_or_default()).map_err(|why| refused(why, path, root))?;
        if entry.is_folder() {
            continue;
        }
        if !entry.is_file() {
            return Err(forbidden(format!("{} is no regular file", file.escape_ascii())));
        }
        if is_copy(segment) {
            return Err(not_found(format!("{}: an editor's copy is not run", shown())));
        }
        return Ok(AtPath { file, rest, metadata: entry.metadata().clone() });
    }
    Err(not_found(format!("{} is a folder", shown())))
}

/// Whether an editor left it, as a name says.
fn is_copy(name: &[u8]) -> bool {
    [&b"~"[..], b".bak", b".orig"].iter().any(|end| name.ends_with(end))
}

/// Why no segment of that name is looked for.
fn hidden(segment: &[u8]) -> Option<&'static str> {
    match segment {
        b"" => Some("it has an empty segment"),
        b"." | b".." => Some("it has a segment of dots"),
        [b'.', ..] => Some("names that begin with a dot are hidden"),
        segment if segment.contains(&0) => Some("it has a NUL"),
        _ => None,
    }
}

/// SCRIPT_FILENAME went on behind the file, as HAProxy and nginx's stock parameters have it: so does SCRIPT_NAME then.
fn trim_script_name(vars: &mut Vars, rest: &[u8]) {
    if rest.is_empty() {
        return;
    }
    let script = vars.known(Known::ScriptName).unwrap_or_default();
    if let Some(name) = script.strip_suffix(rest).map(<[u8]>::to_vec) {
        let info = vars.known(Known::PathInfo).unwrap_or_default();
        let info = if info == rest { rest.to_vec() } else { [rest, info].concat() };
        vars.set("SCRIPT_NAME", name);
        vars.set("PATH_INFO", info);
    } else if vars.known(Known::PathInfo).is_none_or(<[u8]>::is_empty) {
        vars.set("PATH_INFO", rest);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    struct Dir(PathBuf);

    impl Dir {
        /// A folder with programs, and what is none.
        fn new() -> Self {
            use std::hash::{BuildHasher, Hasher};
            let random = std::hash::RandomState::new().build_hasher().finish();
            let top = std::env::temp_dir().join(format!("gatewright-choose-{random:016x}"));
            let root = top.join("bin");
            fs::create_dir_all(root.join("sub/deep")).unwrap();
            for (name, mode) in [
                ("a.cgi", 0o755),
                ("plain.cgi", 0o644),
                ("script.py", 0o644),
                ("old.cgi~", 0o755),
                ("old.cgi.bak", 0o755),
                (".hidden", 0o755),
                ("sub/b", 0o755),
                ("sub/deep/c", 0o755),
                ("../outside", 0o755),
            ] {
                fs::write(root.join(name), "").unwrap();
                fs::set_permissions(root.join(name), fs::Permissions::from_mode(mode)).unwrap();
            }
            symlink("a.cgi", root.join("link")).unwrap();
            symlink("../outside", root.join("out")).unwrap();
            symlink("/etc", root.join("etc")).unwrap();
            symlink("loop", root.join("loop")).unwrap();
            nix::unistd::mkfifo(&root.join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
            Self(top)
        }

        fn choose(&self, vars: &mut Vars, settings: &ProgramSettings) -> Result<String, u16> {
            let root = self.0.join("bin");
            let source = Source::open(&root, settings).unwrap();
            let choice = source.choose(vars, settings).map_err(|error| error.status())?;
            let path = choice.path.into_string().unwrap();
            Ok(path.strip_prefix(root.to_str().unwrap()).unwrap().to_owned())
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    fn names(vars: &Vars) -> (String, String) {
        let text = |name| String::from_utf8_lossy(vars.known(name).unwrap_or(b"-")).into_owned();
        (text(Known::ScriptName), text(Known::PathInfo))
    }

    #[test]
    fn the_path_is_walked_to_the_first_file() {
        let dir = Dir::new();
        let settings = ProgramSettings::default();
        for (script, info, file, script_name, path_info) in [
            ("", "/a.cgi", "/a.cgi", "/a.cgi", ""),
            ("", "/a.cgi/x/y", "/a.cgi", "/a.cgi", "/x/y"),
            ("", "/a.cgi/", "/a.cgi", "/a.cgi", "/"),
            ("", "/a.cgi//x/../y", "/a.cgi", "/a.cgi", "//x/../y"),
            ("", "/sub/b/rest", "/sub/b", "/sub/b", "/rest"),
            ("", "/sub/deep/c", "/sub/deep/c", "/sub/deep/c", ""),
            ("", "/link/x", "/link", "/link", "/x"),
            // nginx's stock parameters.
            ("/a.cgi/x", "", "/a.cgi", "/a.cgi", "/x"),
            // A mount, and a web server that has split the path.
            ("/app", "/a.cgi/x", "/a.cgi", "/app/a.cgi", "/x"),
            ("/a.cgi", "/x", "/a.cgi", "/a.cgi", "/x"),
            // What the web server took for the program is the program.
            ("/a.cgi", "/sub/b", "/a.cgi", "/a.cgi", "/sub/b"),
        ] {
            let mut vars = Vars::from([("SCRIPT_NAME", script), ("PATH_INFO", info)]);
            assert_eq!(dir.choose(&mut vars, &settings), Ok(file.to_owned()), "{script} {info}");
            assert_eq!(names(&vars), (script_name.to_owned(), path_info.to_owned()), "{script} {info}");
            let expected = format!("{}/bin{file}", dir.0.display());
            assert_eq!(vars.get("SCRIPT_FILENAME"), Some(expected.as_bytes()));
        }
    }

    #[test]
    fn what_is_mounted_is_walked_by_path_info_alone() {
        let dir = Dir::new();
        let settings = ProgramSettings { mounted: true, ..ProgramSettings::default() };
        let mut vars = Vars::from([("SCRIPT_NAME", "/a.cgi"), ("PATH_INFO", "/sub/b/x")]);
        assert_eq!(dir.choose(&mut vars, &settings), Ok("/sub/b".to_owned()));
        assert_eq!(names(&vars), ("/a.cgi/sub/b".to_owned(), "/x".to_owned()));
        let mut vars = Vars::from([("SCRIPT_NAME", "/a.cgi"), ("PATH_INFO", "")]);
        assert_eq!(dir.choose(&mut vars, &settings), Err(404));
    }

    #[test]
    fn nothing_outside_or_hidden_is_run() {
        let dir = Dir::new();
        let settings = ProgramSettings::default();
        for (path, status) in [
            ("/nothing", 404),
            ("/sub", 404),
            ("/", 404),
            ("", 404),
            ("a.cgi", 404),
            ("/../outside", 404),
            ("/sub/../../outside", 404),
            ("/./a.cgi", 404),
            ("//a.cgi", 404),
            ("/a.cgi\0", 404),
            ("/.hidden", 404),
            ("/old.cgi~", 404),
            ("/old.cgi.bak", 404),
            ("/out", 403),
            ("/etc/passwd", 403),
            ("/loop", 403),
            ("/fifo", 403),
            ("/plain.cgi", 403),
            ("/script.py", 403),
        ] {
            let mut vars = Vars::from([("PATH_INFO", path)]);
            assert_eq!(dir.choose(&mut vars, &settings), Err(status), "{path}");
            // The same by SCRIPT_FILENAME.
            let name = format!("{}/bin{path}", dir.0.display());
            let mut vars = Vars::from([("SCRIPT_FILENAME", &*name), ("PATH_INFO", path)]);
            assert_eq!(dir.choose(&mut vars, &settings), Err(status), "{name}");
        }
        let long = "/x".repeat(100_000);
        assert_eq!(dir.choose(&mut Vars::from([("PATH_INFO", &*long)]), &settings), Err(404));
    }

    #[test]
    fn links_that_lead_out_are_followed_where_that_is_allowed() {
        let dir = Dir::new();
        let settings = ProgramSettings { follow_links: true, ..ProgramSettings::default() };
        let mut vars = Vars::from([("PATH_INFO", "/out/x")]);
        assert_eq!(dir.choose(&mut vars, &settings), Ok("/out".to_owned()));
        assert_eq!(dir.choose(&mut Vars::from([("PATH_INFO", "/../outside")]), &settings), Err(404));
    }

    #[test]
    fn a_script_filename_inside_counts_and_another_one_does_not() {
        let dir = Dir::new();
        let settings = ProgramSettings::default();
        let root = dir.0.join("bin").to_str().unwrap().to_owned();
        for (name, script, info, expected) in [
            ("/sub/b", "/other", "", ("/other", "")),
            ("/sub/b", "/x/b", "/i", ("/x/b", "/i")),
            ("/sub/b/i", "/x/b/i", "", ("/x/b", "/i")),
            ("/sub/b/i", "/x/b", "/i", ("/x/b", "/i")),
            ("/sub/b/i", "/x/b", "", ("/x/b", "/i")),
        ] {
            let name = format!("{root}{name}");
            let mut vars =
                Vars::from([("SCRIPT_FILENAME", &*name), ("SCRIPT_NAME", script), ("PATH_INFO", info)]);
            assert_eq!(dir.choose(&mut vars, &settings), Ok("/sub/b".to_owned()));
            assert_eq!(
                names(&vars),
                (expected.0.to_owned(), expected.1.to_owned()),
                "{name} {script} {info}"
            );
        }
        for outside in ["/etc/passwd", &format!("{root}x/a.cgi"), &root, &format!("{root}/"), "", "a.cgi"] {
            let mut vars = Vars::from([("SCRIPT_FILENAME", outside), ("PATH_INFO", "/a.cgi")]);
            assert_eq!(dir.choose(&mut vars, &settings), Ok("/a.cgi".to_owned()), "{outside}");
        }
    }

    #[test]
    fn interpreters_run_what_has_no_run_bit() {
        let dir = Dir::new();
        let interpreters = vec![(".py".to_owned(), PathBuf::from("/usr/bin/python3"))];
        let settings = ProgramSettings { interpreters, ..ProgramSettings::default() };
        assert!(dir.choose(&mut Vars::from([("PATH_INFO", "/script.py")]), &settings).is_ok());
        assert_eq!(dir.choose(&mut Vars::from([("PATH_INFO", "/plain.cgi")]), &settings), Err(403));
    }

    #[test]
    fn one_program_takes_all_paths() {
        let dir = Dir::new();
        let settings = ProgramSettings::default();
        let source = Source::open(&dir.0.join("bin/a.cgi"), &settings).unwrap();
        let mut vars = Vars::from([("SCRIPT_NAME", "/app"), ("PATH_INFO", "/../x")]);
        assert!(source.choose(&mut vars, &settings).is_ok());
        assert_eq!(names(&vars), ("/app".to_owned(), "/../x".to_owned()));
        fs::remove_file(dir.0.join("bin/a.cgi")).unwrap();
        assert_eq!(source.choose(&mut vars, &settings).unwrap_err().status(), 404);
    }
}
