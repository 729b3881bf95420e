//! The files of the status page, from `page/`.

use super::html;

/// What the status page may load: only what this server serves, and no text becomes a part of the page as HTML.
pub(super) const POLICY: &str = "default-src 'none'; base-uri 'none'; connect-src 'self'; form-action 'self'; \
     frame-ancestors 'none'; img-src 'self'; require-trusted-types-for 'script'; script-src 'self'; style-src 'self'; \
     trusted-types 'none'";

/// One file.
#[derive(Debug)]
pub(super) struct Asset {
    pub(super) name: &'static str,
    pub(super) content_type: &'static str,
    pub(super) text: &'static str,
}

/// The page itself.
pub(super) const INDEX: Asset =
    Asset { name: "index.html", content_type: html::HTML, text: include_str!("page/index.html") };

/// The file that is served as `/page/NAME`.
pub(super) fn asset(name: &str) -> Option<&'static Asset> {
    ASSETS.iter().find(|asset| asset.name == name)
}

/// All files, for tests.
#[cfg(test)]
pub(super) fn all() -> impl Iterator<Item = &'static Asset> {
    ASSETS.iter().chain([&INDEX])
}

const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

macro_rules! assets {
    ($($content_type:expr => $($name:literal),+;)+) => {
        /// All but the page itself.
        const ASSETS: &[Asset] = &[$($(Asset {
            name: $name,
            content_type: $content_type,
            text: include_str!(concat!("page/", $name)),
        }),+),+];
    };
}

assets! {
    CSS => "page.css";
    "image/svg+xml" => "icon.svg";
    SCRIPT => "main.js", "dom.js", "numbers.js", "verdict.js", "history.js", "charts.js", "flow.js", "sections.js";
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The files of `page/`.
    fn files() -> Vec<String> {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/src/http/page");
        let entries = std::fs::read_dir(directory).expect("a directory");
        entries.map(|it| it.expect("a file").file_name().into_string().expect("UTF-8")).collect()
    }

    #[test]
    fn each_file_of_the_page_is_served_and_each_that_it_asks_for_is_there() {
        for file in files() {
            assert!(file == INDEX.name || asset(&file).is_some(), "{file} is not served");
        }
        let asked = INDEX.text.split("\"/page/").skip(1).filter_map(|rest| rest.split('"').next());
        let imported = ASSETS.iter().flat_map(|it| it.text.split("from \"./").skip(1));
        let imported = imported.filter_map(|rest| rest.split('"').next());
        let all: Vec<_> = asked.chain(imported).collect();
        assert!(all.len() > 10, "{all:?}");
        for name in all {
            assert!(asset(name).is_some(), "{name} is asked for");
        }
    }

    #[test]
    fn no_file_of_the_page_makes_html_of_text_or_asks_elsewhere() {
        for Asset { name, text, .. } in ASSETS.iter().chain([&INDEX]) {
            for banned in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
                "new Function",
                "style=\"",
                "onclick=",
                "javascript:",
                "<script>",
                "@import",
                "url(",
            ] {
                assert!(!text.contains(banned), "{name} has {banned}");
            }
            // The names of two XML vocabularies are no addresses.
            let addresses = text.replace("http://www.w3.org/2000/svg", "");
            assert!(!addresses.contains("://"), "{name} names an address");
        }
    }
}
