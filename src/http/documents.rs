//! Documents that the status page links to: those of this very version, also where no other network is reached.

use std::sync::LazyLock;

use super::assets::Asset;
use super::{html, markdown};

macro_rules! documents {
    ($($name:literal),+ $(,)?) => {
        const SOURCES: &[(&str, &str)] = &[$((
            $name,
            include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/", $name)),
        )),+];
    };
}

documents! {
    "brokers.md", "configuration.md", "doctor.md", "glossary.md", "guarantees.md", "latency.md", "map.md",
    "observability.md", "operations.md", "routes.md", "scaling.md", "security.md", "status-page.md", "top.md",
}

/// As pages, made when the first is asked for.
static PAGES: LazyLock<Vec<Asset>> = LazyLock::new(|| {
    let page = |(name, source): &(&'static str, &str)| Asset {
        name,
        content_type: html::HTML,
        // Once in the life of the process.
        text: page(name, source).leak(),
    };
    SOURCES.iter().map(page).collect()
});

/// The document that is served as `/docs/NAME`.
pub(super) fn document(name: &str) -> Option<&'static Asset> {
    PAGES.iter().find(|page| page.name == name)
}

fn page(name: &str, source: &str) -> String {
    let is_served = |file: &str| SOURCES.iter().any(|(name, _)| *name == file);
    let body = markdown::html(source, &is_served);
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{name} - mqtt-kafka-bridge</title>\n\
         <link rel=\"icon\" href=\"/page/icon.svg\" type=\"image/svg+xml\">\n\
         <link rel=\"stylesheet\" href=\"/page/page.css\">\n</head>\n<body>\n\
         <nav aria-label=\"Back\"><p><a href=\"/\">Status page</a></p></nav>\n\
         <main><section class=\"document\" aria-label=\"docs/{name}\">\n{body}</section></main>\n</body>\n</html>\n"
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::http::assets;

    /// The targets of links in a text: `before` stands in front of each, and one of `ends` behind it.
    fn targets<'a>(text: &'a str, before: &str, ends: &[char]) -> Vec<&'a str> {
        text.split(before).skip(1).filter_map(|rest| rest.split(ends).next()).collect()
    }

    fn assert_there(from: &str, target: &str) {
        let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
        let page = document(file).unwrap_or_else(|| panic!("{from}: {file} is not served"));
        let id = format!(" id=\"{anchor}\"");
        assert!(anchor.is_empty() || page.text.contains(&id), "{from}: {file} has no {anchor}");
    }

    #[test]
    fn each_link_within_the_documents_leads_somewhere() {
        for page in &*PAGES {
            for target in targets(page.text, "href=\"/docs/", &['"']) {
                assert_there(page.name, target);
            }
            for anchor in targets(page.text, "href=\"#", &['"']) {
                assert_there(page.name, &format!("{}#{anchor}", page.name));
            }
        }
    }

    /// A link to a document that is not served becomes plain text: those are known.
    #[test]
    fn only_documents_that_no_operator_needs_are_not_served() {
        let linked = SOURCES.iter().flat_map(|(_, source)| targets(source, "](", &[')', '#']));
        let names = linked.filter(|target| target.ends_with(".md") && !target.contains('/'));
        let missing: BTreeSet<_> = names.filter(|name| document(name).is_none()).collect();
        assert_eq!(missing, ["architecture.md", "performance.md"].into());
    }

    #[test]
    fn each_link_of_the_status_page_leads_somewhere() {
        let all = assets::all().flat_map(|asset| {
            let quoted = ["\"docs/", "\"/docs/"].map(|before| targets(asset.text, before, &['"']));
            quoted.concat().into_iter().map(move |target| (asset.name, target))
        });
        let all: Vec<_> = all.filter(|(_, target)| !target.is_empty()).collect();
        assert!(all.len() > 10, "{all:?}");
        for (from, target) in all {
            assert_there(from, target);
        }
    }

    #[test]
    fn each_place_that_the_log_names_is_served() {
        for event in crate::observe::events::ALL {
            if let Some(help) = event.help() {
                assert_there(event.name(), &format!("operations.md#{help}"));
            }
        }
    }
}
