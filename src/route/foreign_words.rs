//! Which texts behind a bar of a placeholder look as if a function was meant: one of another template language
//! (Jinja, Liquid, Go and Helm, Telegraf, Vector, JSONata, AWS IoT SQL), or one of ours, written as there. Pure.

/// The function that does it here, and the names that it has elsewhere, in lower case and without `_` and `-`: those that
/// mean nothing else, and those that are words which a device, a site or a unit may have.
const FOREIGN: &[(Option<&str>, &str, &str)] = &[
    (Some("default"), "coalesce defaultifempty ifempty ifnull isnull nvl orelse", "else"),
    (
        Some("lower"),
        "asciidowncase casefold downcase lcase lowercase strtolower tolower tolowercase",
        "lc",
    ),
    (Some("upper"), "asciiupcase strtoupper toupper touppercase ucase upcase uppercase", "uc"),
    (Some("trim"), "chomp lstrip ltrim rstrip rtrim strip stripwhitespace trimall trimspace", ""),
    (
        Some("replace"),
        "gsub regexpreplace regexreplace removefirst replaceall replacefirst",
        "remove sub translate",
    ),
    (
        Some("first"),
        "leftstr substr substring trunc truncate",
        "cut head left limit prefix slice take",
    ),
    (Some("last"), "rightstr", "right suffix tail"),
    (
        Some("date"),
        "dateformat formatdate formattime formattimestamp parsetime parsetimestamp strftime strptime todate \
         totimestamp",
        "datetime",
    ),
    (Some("epoch"), "astimestamp tomillis tounix tounixtimestamp", "unixtime unixtimestamp"),
    (
        None,
        "atoi b64dec b64enc base64decode base64encode basename camelcase capitalize crc32 decodebase64 dirname \
         dividedby encodebase64 endswith forceescape fromjson groupby hmac indexof jsonencode jsonparse kebabcase \
         ljust lpad md5 padleft padright parsejson pascalcase printf regexmatch regexpmatches regexpsubstr rjust \
         rpad sha sha1 sha2 sha256 sha3 sha512 slugify snakecase splitlist sprintf squote startswith striphtml \
         striptags swapcase titlecase tobool tofloat toint tojson tonumber tostring trimprefix trimsuffix typeof \
         unescape uniq untitle urldecode urlencode urlescape urlize wordcount wordwrap xmlattr",
        "abs append attr avg base32 base64 batch bool boolean cat ceil center compact concat contains convert \
         count decode divide encode escape extract filter find flatten float floor format hash hex indent index \
         int integer items join json keys len length list lookup map match max min minus mod modulo mul multiply \
         now number pad parse plus pluck pop prepend print push quote random regex reject repeat reverse round \
         safe search select shift size slug sort split squeeze str string sum times title type unique values words \
         wrap zip",
    ),
];

/// The fewest letters of a name with which a word is compared that lacks one of them, or has another one: shorter names
/// are near to too many words.
const COMPARED_MIN: usize = 5;

/// What was probably meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meant {
    /// One of ours, by its name.
    Ours(&'static str),
    /// One that there is not here.
    Foreign,
}

/// The function that was meant by this text, if it looks like one: its first word is a function's name, or nearly
/// one of `ours`, with what may be arguments; or it stands alone and is no word that a message may have.
pub(super) fn meant(written: &str, ours: impl Iterator<Item = &'static str>) -> Option<Meant> {
    let written = written.trim();
    let is_of_name = |char: char| char.is_ascii_alphanumeric() || "_-".contains(char);
    let (word, rest) =
        written.split_at(written.find(|char| !is_of_name(char)).unwrap_or(written.len()));
    let is_call = rest.starts_with('(');
    let is_number = rest.starts_with(' ') && rest.trim().parse::<u32>().is_ok();
    let has_argument = is_call || is_number || rest.starts_with(':');
    if !rest.is_empty() && !has_argument {
        return None;
    }
    let name = normal(word);
    let mut ours = ours;
    let is_meant = |ours: &&str| match has_argument {
        true => strsim::damerau_levenshtein(ours, &name) <= 1,
        false => *ours == name || is_misspelt(ours, &name),
    };
    if let Some(near) = ours.find(is_meant) {
        return Some(Meant::Ours(near));
    }
    let known = FOREIGN
        .iter()
        .find(|(_, names, words)| has_name(names, &name) || has_argument && has_name(words, &name));
    match known {
        Some((Some(here), ..)) => Some(Meant::Ours(here)),
        Some((None, ..)) => Some(Meant::Foreign),
        None => (is_call && !name.is_empty()).then_some(Meant::Foreign),
    }
}

/// Whether a word that is a default differs in one letter from a function's name, so that a person is asked.
pub(super) fn is_doubtful(word: &str, ours: impl Iterator<Item = &'static str>) -> bool {
    let name = normal(word);
    let foreign = FOREIGN.iter().flat_map(|(_, names, _)| names.split(' '));
    let foreign = foreign.filter(|known| known.len() >= COMPARED_MIN);
    ours.chain(foreign).any(|known| strsim::damerau_levenshtein(known, &name) == 1)
}

fn normal(word: &str) -> String {
    word.replace(['_', '-'], "").to_ascii_lowercase()
}

fn has_name(names: &str, name: &str) -> bool {
    names.split(' ').any(|known| known == name && !known.is_empty())
}

/// Whether two neighbours changed places, or one letter within the name is lost: what fingers do, while another letter,
/// or one more, nearly always makes a word of its own (`east`, `power`, `blower`).
fn is_misspelt(ours: &str, name: &str) -> bool {
    if strsim::damerau_levenshtein(ours, name) != 1 {
        return false;
    }
    let has_ends = || ours.get(..1) == name.get(..1) && ours.chars().last() == name.chars().last();
    match ours.len() == name.len() {
        true => strsim::levenshtein(ours, name) == 2,
        false => ours.len() >= COMPARED_MIN && name.len() < ours.len() && has_ends(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: [&str; 3] = ["lower", "first", "date"];

    #[test]
    fn what_looks_like_a_function_is_known_for_one() {
        use Meant::{Foreign, Ours};
        for (written, expected) in [
            ("lowr", Some(Ours("lower"))),
            ("LOWER", Some(Ours("lower"))),
            (" lower ", Some(Ours("lower"))),
            ("lower()", Some(Ours("lower"))),
            ("first 3", Some(Ours("first"))),
            ("first(3)", Some(Ours("first"))),
            ("toLowerCase", Some(Ours("lower"))),
            ("to_lower", Some(Ours("lower"))),
            ("lower-case", Some(Ours("lower"))),
            ("substr:0:3", Some(Ours("first"))),
            ("sha256", Some(Foreign)),
            ("round(2)", Some(Foreign)),
            ("mine(2)", Some(Foreign)),
            ("frist", Some(Ours("first"))),
            ("left:3", Some(Ours("first"))),
            ("left(3)", Some(Ours("first"))),
            ("max(3)", Some(Foreign)),
            ("lowest:a", None),
            ("unknown", None),
            ("n/a", None),
            ("(none)", None),
            ("lower/saxony", None),
            ("lower-saxony", None),
            ("", None),
            ("0", None),
            ("ü", None),
        ] {
            assert_eq!(meant(written, OURS.into_iter()), expected, "{written:?}");
        }
    }

    #[test]
    fn the_lists_are_written_as_they_are_looked_up_and_agree() {
        let functions = || super::super::words::WORDS.iter().filter(|word| !word.is_source());
        let mut all = std::collections::BTreeSet::new();
        for (here, names, words) in FOREIGN {
            assert!(here.is_none_or(|here| functions().any(|word| word.name == here)), "{here:?}");
            for name in names.split(' ').chain(words.split_whitespace()) {
                assert!(name.chars().all(|char| char.is_ascii_alphanumeric()), "{name:?}");
                assert_eq!(name, name.to_ascii_lowercase());
                assert!(all.insert(name), "{name} is there twice");
            }
        }
    }

    #[test]
    fn what_devices_sites_and_units_say_is_no_function() {
        let functions = || super::super::words::WORDS.iter().filter(|word| !word.is_source());
        let ours = || functions().map(|word| word.name);
        let words = "east East west north south left Right top bottom front rear center inner outer fast slow list data \
                     Data gate rate late plate state power Power tower flower lowest blower int integer max min avg sum \
                     map index now string float bool number count true false on off yes no ok open closed kwh kW wh volt \
                     celsius Celsius kelvin bar hpa lux ppm percent rpm room kitchen cellar attic hall door site plant \
                     line press pump valve fan motor meter sensor gateway Berlin alarm idle running stopped fault \
                     auto manual low high normal unknown none null nil other empty missing unset anonymous undefined \
                     title type size length format hex filter tail head trip trick dates upped past cast";
        for word in words.split_whitespace() {
            assert_eq!(meant(word, ours()), None, "{word}");
        }
        for text in ["first floor", "left door", "last known", "n/a", "not known"] {
            assert_eq!(meant(text, ours()), None, "{text}");
        }
        for word in
            "true false on off yes no ok kwh celsius unknown none null other left max".split(' ')
        {
            assert!(!is_doubtful(word, ours()), "{word}");
        }
        for word in ["east", "power", "lowerr", "tolowr"] {
            assert!(is_doubtful(word, ours()), "{word}");
        }
    }
}
