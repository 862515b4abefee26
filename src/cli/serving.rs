//! What is served, and what stands around it: the flags about applications, the same for every gateway.

#[cfg(unix)]
use std::path::Path;
use std::sync::Arc;

use clap::Args;

#[cfg(unix)]
use super::access::AccessFlags;
use super::app::{self, App, Before, Opened, Place};
#[cfg(target_os = "linux")]
use super::programs::ProgramFlags;
use super::usage::Failure;
use crate::app::Application;
#[cfg(unix)]
use crate::apps::Dir;
use crate::apps::Mounts;
#[cfg(unix)]
use crate::files::Links;
use crate::handlers::Observer;
use crate::validate::validator;

/// The application, or several.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct Serving {
    /// The application: demo, dir:PATH for the files of a folder, or cgi:PATH for a CGI program or a folder of them
    /// [default: demo]
    #[arg(value_name = "APP", value_parser = app::parse)]
    pub(super) app: Option<App>,
    /// Serve an application under a path, as in /docs/=dir:/srv/docs; may be repeated, the longest prefix comes first.
    /// With a slash before the equals sign clients are sent to the URL that ends in one
    #[arg(long, value_name = "/PREFIX=APP", value_parser = parse_mount)]
    mount: Vec<(String, App)>,
    #[command(flatten)]
    settings: Settings,
}

/// What holds for all applications of a kind.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct Settings {
    #[cfg(unix)]
    #[command(flatten)]
    pub(super) dir: DirFlags,
    #[cfg(target_os = "linux")]
    #[command(flatten)]
    pub(super) programs: ProgramFlags,
}

/// What holds for every folder that is served.
#[cfg(unix)]
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Folders (dir:PATH)")]
pub(super) struct DirFlags {
    /// List folders that have no index file
    #[arg(long)]
    dir_listing: bool,
    /// Serve and list names that begin with a dot; otherwise only /.well-known/ is served
    #[arg(long)]
    dir_hidden: bool,
    /// Which symbolic links are followed in a folder: none, inside (those that stay in it), or any
    #[arg(long, value_name = "WHICH", value_parser = parse_links, default_value = "inside")]
    dir_links: Links,
    /// The file that is served for its folder; may be repeated, the first one found is taken [default: index.html,
    /// index.htm]
    #[arg(long, value_name = "NAME", value_parser = parse_name)]
    dir_index: Vec<String>,
}

#[cfg(unix)]
impl DirFlags {
    pub(super) fn open(&self, path: &Path) -> std::io::Result<Dir> {
        let dir = Dir::new(path)?.links(self.dir_links).listing(self.dir_listing).hidden(self.dir_hidden);
        Ok(if self.dir_index.is_empty() { dir } else { dir.index(self.dir_index.clone()) })
    }
}

#[cfg(unix)]
fn parse_links(text: &str) -> Result<Links, String> {
    match text {
        "none" => Ok(Links::None),
        "inside" => Ok(Links::Inside),
        "any" => Ok(Links::Any),
        _ => Err("write none, inside or any".to_owned()),
    }
}

#[cfg(unix)]
fn parse_name(text: &str) -> Result<String, String> {
    match text {
        "" | "." | ".." => Err("it is a file's name, such as index.html".to_owned()),
        name if name.contains(['/', '\0']) => {
            Err("it is a name without a path, such as index.html".to_owned())
        }
        name => Ok(name.to_owned()),
    }
}

fn parse_mount(text: &str) -> Result<(String, App), String> {
    let (prefix, app) = text.split_once('=').ok_or("write /PREFIX=APP, as in /docs/=dir:/srv/docs")?;
    // All that is wrong with the prefix alone is found here, where the flag can be named.
    Mounts::new().mount(prefix, demo_in_its_place()).map_err(|error| error.to_string())?;
    Ok((prefix.to_owned(), app::parse(app)?))
}

fn demo_in_its_place() -> impl Application {
    crate::app::app(crate::apps::demo_app)
}

impl Serving {
    /// Whether the demo is all there is.
    pub(super) fn is_demo(&self) -> bool {
        self.mount.is_empty() && matches!(self.app, None | Some(App::Demo))
    }

    /// Warns of flags about folders where none is served.
    #[cfg(unix)]
    pub(super) fn warn_of_idle_flags(&self) {
        let apps = self.app.iter().chain(self.mount.iter().map(|(_, app)| app));
        if self.settings.dir.dir_listing && !apps.into_iter().any(|app| matches!(app, App::Dir(_))) {
            log::warn!("--dir-listing: no folder is served; write dir:PATH, as in dir:. for this one");
        }
    }

    /// Makes all ready to serve. Without any mount it is `APP` alone, by default the demo; beside mounts `APP` is what
    /// is under no other.
    pub(super) fn open(&self, place: Place) -> Result<Opened, Failure> {
        let mut before = Before::default();
        let mut open = |app: &App, prefix: &str, place: Place| {
            app.open(&self.settings, (prefix, place), &mut before).map_err(Failure::run)
        };
        let app: Arc<dyn Application> = if self.mount.is_empty() {
            open(self.app.as_ref().unwrap_or(&App::default()), "/", place)?
        } else {
            let root = self.app.iter().map(|app| ("/", app));
            let mounted = self.mount.iter().map(|(prefix, app)| (prefix.as_str(), app));
            let mut mounts = Mounts::new();
            for (prefix, app) in root.chain(mounted) {
                let wrong = |error: crate::apps::MountError| Failure::Usage(format!("--mount: {error}"));
                let place = Place { mounted: place.mounted || prefix != "/", ..place.clone() };
                mounts = mounts.mount(prefix, open(app, prefix, place)?).map_err(wrong)?;
            }
            Arc::new(mounts)
        };
        Ok(Opened {
            app,
            offers: before.offers,
            #[cfg(target_os = "linux")]
            programs: before.programs,
            #[cfg(unix)]
            needs: before.needs,
        })
    }
}

/// What stands around the application.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Access log and checks")]
pub(super) struct Around {
    /// Check that application and gateway keep the rules of PEP 3333: what breaks one is logged, and answered with 500
    /// while nothing has left
    #[arg(long)]
    validate: bool,
    #[cfg(unix)]
    #[command(flatten)]
    pub(super) access: AccessFlags,
}

impl Around {
    /// Whether there is an access log, which may have to say that it cannot be written.
    pub(super) fn has_log(&self) -> bool {
        #[cfg(unix)]
        return self.access.is_on();
        #[cfg(not(unix))]
        false
    }

    /// The access log of a program that answers one request; what that borrows may as well last.
    pub(super) fn observer_of_one_request(&self) -> Result<Option<&'static dyn Observer>, Failure> {
        #[cfg(unix)]
        if let Some(log) = self.access.open().map_err(Failure::run)? {
            return Ok(Some(Box::leak(Box::new(log.direct()))));
        }
        Ok(None)
    }

    pub(super) fn wrap(&self, opened: Opened) -> Opened {
        if self.validate {
            Opened { app: Arc::new(validator(Arc::clone(&opened.app))), ..opened }
        } else {
            opened
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_read_and_refused() {
        assert_eq!(parse_mount("/a/=demo"), Ok(("/a/".to_owned(), App::Demo)));
        assert_eq!(parse_mount("/=dir:/a=b"), Ok(("/".to_owned(), App::Dir("/a=b".into()))));
        for (text, named) in [
            ("demo", "/PREFIX=APP"),
            ("a=demo", "slash"),
            ("=demo", "slash"),
            ("/a/../b=demo", ".."),
            ("/a=", "dir:PATH"),
            ("/a=dir:", "dir:PATH"),
            ("/a=nonsense", "no such application"),
            ("/a=/srv/docs", "write dir:/srv/docs for"),
            ("/a=.", "or cgi:. for programs"),
        ] {
            let error = parse_mount(text).unwrap_err();
            assert!(error.contains(named), "{text}: {error}");
        }
    }

    #[test]
    fn what_cannot_be_served_is_named() {
        let serving = |app, mounts: &[&str]| {
            let mount = mounts.iter().map(|text| parse_mount(text).unwrap()).collect();
            Serving { app, mount, settings: Settings::default() }.open(Place::default()).map(|_| ())
        };
        assert!(serving(None, &[]).is_ok());
        assert!(serving(Some(App::Demo), &["/a=demo", "/a/b=demo"]).is_ok());
        let twice = serving(Some(App::Demo), &["/=demo"]).unwrap_err();
        assert!(matches!(&twice, Failure::Usage(what) if what.contains("--mount") && what.contains("\"/\"")));
        let gone = serving(None, &["/a=dir:/nowhere"]).unwrap_err();
        assert!(
            matches!(&gone, Failure::Run(what) if what.to_string().starts_with("dir:/nowhere: it does not exist"))
        );
    }
}
