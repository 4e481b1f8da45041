//! The pages that browsers get, and the scripts and styles that they are made of. `build.rs` bundles them from TypeScript.
//!
//! Files are named by their content, `chat-4KXVXVSN.js`, so that a browser need never ask for one again. A page knows the names of its own
//! version's files.

/// A page.
#[derive(Debug)]
pub struct Page {
    html: &'static str,
    /// What tells it from the page that it was, or will be.
    pub version: &'static str,
}

impl Page {
    /// Its HTML, for a deployment below `base`: a path of letters, digits and `-_~` that begins and ends with a slash.
    pub fn html(&self, base: &str) -> String {
        self.html.replace("{base}", base)
    }
}

/// A file that pages load.
#[derive(Debug)]
pub struct Asset {
    /// Its name, with the hash of its content.
    pub file: &'static str,
    /// What it is.
    pub media_type: &'static str,
    /// Its content.
    pub text: &'static str,
}

/// What was found for the name of a file.
#[derive(Debug)]
pub enum Found {
    /// The file.
    Itself(&'static Asset),
    /// This version's file of that name. A page of another version asks for its own: while a deployment rolls out, versions mix.
    OtherVersion(&'static Asset),
}

/// The file of this name.
pub fn find(file: &str) -> Option<Found> {
    if let Some(asset) = ASSETS.iter().find(|asset| asset.file == file) {
        return Some(Found::Itself(asset));
    }
    let wanted = unversioned(file)?;
    let other = ASSETS.iter().find(|asset| unversioned(asset.file) == Some(wanted));
    other.map(Found::OtherVersion)
}

/// The name and the extension of `name-hash.extension`.
fn unversioned(file: &str) -> Option<(&str, &str)> {
    let (stem, extension) = file.rsplit_once('.')?;
    let (name, hash) = stem.rsplit_once('-')?;
    hash.bytes()
        .all(|byte| byte.is_ascii_alphanumeric())
        .then_some((name, extension))
}

include!(concat!(env!("OUT_DIR"), "/pages.rs"));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_loads_files_that_there_are() {
        for page in [CHAT, ADMIN, DOCS] {
            let html = page.html("/prod/");
            assert!(html.contains("<base href=\"/prod/\">") && !html.contains('{'), "{html}");
            let files = html.split("\"assets/").skip(1);
            let files: Vec<_> = files.map(|rest| rest.split('"').next().unwrap()).collect();
            assert_eq!(files.len(), 2, "{html}");
            for file in files {
                assert!(matches!(find(file), Some(Found::Itself(_))), "{file}");
            }
        }
    }

    #[test]
    fn nothing_is_inline() {
        for page in [CHAT, ADMIN, DOCS] {
            let html = page.html("/");
            assert!(!html.contains("<style") && !html.contains(" style=") && !html.contains("<script>"));
        }
    }

    #[test]
    fn a_file_of_another_version_is_replaced_by_this_version_s() {
        assert!(
            matches!(find("chat-AAAAAAAA.js"), Some(Found::OtherVersion(asset)) if asset.file.starts_with("chat-"))
        );
        for other in [
            "chat.js",
            "chat-.png",
            "chat-/x.js",
            "nothing-AAAAAAAA.js",
            "",
            "-.js",
            "..",
            "chat-AAAAAAAA",
        ] {
            assert!(find(other).is_none(), "{other}");
        }
    }

    #[test]
    fn a_page_stays_small() {
        for asset in ASSETS {
            assert!(
                asset.text.len() < 200_000,
                "{} has {} bytes",
                asset.file,
                asset.text.len()
            );
        }
    }
}
