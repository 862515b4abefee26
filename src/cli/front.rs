//! The flags about the web server in front, the same for every gateway that has one.

use std::borrow::Cow;

use clap::Args;

use crate::environ::front::{Front, FrontError, FrontSettings, ScriptName};

/// Where they stand in `--help`.
pub(super) const FRONT: &str = "The web server in front";

#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = FRONT)]
pub(super) struct FrontFlags {
    /// The web server in front, whose variables are repaired: auto, nginx, apache, lighttpd, caddy, haproxy, iis or none;
    /// auto, the default, asks SERVER_SOFTWARE and repairs only what is certain
    #[arg(long, value_name = "NAME", value_parser = parse::<Front>)]
    front: Option<Front>,
    /// Where the application is mounted, if the web server does not say: /app; other paths are 404, / is the root
    #[arg(long, value_name = "PATH", value_parser = parse::<ScriptName>)]
    script_name: Option<ScriptName>,
    /// Withhold HTTP_AUTHORIZATION, the client's credentials
    #[arg(long)]
    hide_authorization: bool,
    /// Let a variable through that is dropped for safety, such as HTTP_PROXY; may be repeated
    #[arg(long, value_name = "NAME", value_parser = parse_name)]
    keep_variable: Vec<String>,
}

impl FrontFlags {
    /// The settings where no web server stands in front that makes variables: nothing is to be repaired.
    ///
    /// # Errors
    /// One was named.
    #[cfg(unix)]
    pub(super) fn without_front(self) -> Result<FrontSettings, String> {
        match self.front {
            Some(Front::None) | None => Ok(FrontSettings { front: Front::None, ..self.settings() }),
            Some(front) => Err(format!(
                "--front {front} is for gateways that a web server speaks FastCGI, SCGI or CGI to; whom to believe over \
                 HTTP says --trusted-proxy"
            )),
        }
    }

    /// Whether the web server is known to be IIS, which makes a failure of any error text.
    #[cfg(unix)]
    pub(super) fn is_iis(&self) -> bool {
        self.front == Some(Front::Iis)
    }

    /// Whether SCRIPT_NAME will say where the application is mounted, and no more.
    pub(super) fn is_mounted(&self) -> bool {
        self.script_name.is_some()
    }

    pub(super) fn settings(self) -> FrontSettings {
        FrontSettings {
            front: self.front.unwrap_or_default(),
            script_name: self.script_name,
            hide_authorization: self.hide_authorization,
            keep_variables: self.keep_variable.into_iter().map(Cow::Owned).collect(),
        }
    }
}

fn parse<T: std::str::FromStr<Err = FrontError>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: FrontError| error.to_string())
}

fn parse_name(text: &str) -> Result<String, String> {
    match text {
        "" => Err("it is the name of a variable, such as HTTP_PROXY".to_owned()),
        name if name.contains(['=', '\0']) => {
            Err("no variable's name has an equals sign or a NUL".to_owned())
        }
        name => Ok(name.to_owned()),
    }
}
