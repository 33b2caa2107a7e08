use std::fs;
use std::path::Path;

use super::*;

/// Flags, variables and the text of a file, put together.
fn resolved(flags: &[(&str, &str)], variables: &[(&str, &str)], file: &str) -> Result<Resolved, String> {
    let mut given: BTreeMap<&'static str, Vec<String>> = BTreeMap::new();
    for (key, text) in flags {
        let declared = declared().into_iter().find(|setting| setting.about.key == *key).unwrap();
        given.entry(declared.about.key).or_default().push((*text).to_owned());
    }
    let environment = |name: &str| variables.iter().find(|(of, _)| *of == name).map(|(_, value)| value.into());
    resolve(&SettingFlags { given }, environment, Some(&ConfigFile::parse(file, "manager.toml")?))
}

#[test]
fn a_flag_goes_before_the_environment_that_before_the_file_and_that_before_the_default() {
    let value = |flag: Option<&str>, variable: Option<&str>, file: &str| {
        let flags: Vec<_> = flag.map(|text| ("max_objects", text)).into_iter().collect();
        let variables: Vec<_> = variable.map(|text| ("HOLDFAST_MAX_OBJECTS", text)).into_iter().collect();
        let resolved = resolved(&flags, &variables, file).unwrap();
        let origin = resolved.origins.get("max_objects").unwrap_or(&Origin::Default).to_string();
        (resolved.configuration.limits.objects, origin)
    };
    let file = "# a comment\nmax_objects = 3";
    assert_eq!(value(Some("1"), Some("2"), file), (1, "--max-objects".to_owned()));
    assert_eq!(value(None, Some("2"), file), (2, "environment: HOLDFAST_MAX_OBJECTS".to_owned()));
    assert_eq!(value(None, Some(""), file), (3, "manager.toml:2".to_owned()));
    assert_eq!(value(None, None, ""), (4_000_000, "default".to_owned()));
}

#[test]
fn every_setting_can_be_set_in_every_way_and_what_is_printed_says_the_same_when_it_is_read() {
    let defaults = Configuration::default();
    for setting in declared() {
        let About { key, shape, .. } = setting.about;
        let default = (setting.get)(&defaults);
        // An environment variable that is empty counts as not set.
        let value = if default == [""] { vec!["/some/file".to_owned()] } else { default };
        let text = value.first().unwrap();
        let from_flag = resolved(&[(key, text)], &[], "").unwrap();
        let from_variable = resolved(&[], &[(&*setting.about.variable(), text)], "").unwrap();
        let from_file = resolved(&[], &[], &format!("{key} = {}", toml_value(shape, &value))).unwrap();
        for resolved in [&from_flag, &from_variable, &from_file] {
            assert_eq!((setting.get)(&resolved.configuration), value, "{key}");
            assert!(resolved.origins.contains_key(key), "{key}");
        }
    }
    let changed = resolved(
        &[("listen", "unix:/a \"b\" # c\\d"), ("listen", "http://[::1]:0"), ("insecure_plaintext", "true")],
        &[("HOLDFAST_DRAIN_TIMEOUT", "1500ms"), ("HOLDFAST_LOG", "holdfast_manager=debug,info")],
        "max_value_bytes = \"5MiB\"\nmax_name_bytes = 0x100\nthreads = 3",
    );
    let printed = changed.unwrap().to_toml();
    let again = resolved(&[], &[], &printed).unwrap();
    let without_origins = |text: &str| -> Vec<String> {
        text.lines().map(|line| line.rsplit_once(" # ").map_or(line, |(value, _)| value).to_owned()).collect()
    };
    assert_eq!(without_origins(&again.to_toml()), without_origins(&printed));
    let Configuration { general, limits, .. } = again.configuration;
    assert_eq!((limits.value_bytes, limits.name_bytes, general.threads), (5 << 20, 256, 3));
    assert_eq!((general.listen.len(), general.drain_timeout.as_millis()), (2, 1500));
    for expected in [
        "drain_timeout = \"1500ms\" # environment: HOLDFAST_DRAIN_TIMEOUT",
        "max_value_bytes = \"5MiB\" # manager.toml:1",
        "insecure_plaintext = true # --insecure-plaintext",
        "max_sessions = 4096 # default",
    ] {
        assert!(printed.lines().any(|line| line == expected), "{expected} in {printed}");
    }
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let problem = |file: &str| resolved(&[], &[], file).unwrap_err();
    for (file, says) in [
        ("\nmax_sesions = 3", "manager.toml:2: there is no setting \"max_sesions\": is max_sessions meant?"),
        ("drain-timeout = \"5s\"", "is drain_timeout meant?"),
        ("[limits]\nmax_objects = 3", "manager.toml:1: there is no setting \"limits\""),
        ("threads = 1\nthreads = 2", "manager.toml:2: duplicate key"),
        ("threads = ", "manager.toml:1: "),
        ("threads = 0", "manager.toml:1: \"0\" is no value of threads: it must be from 1 to 256"),
        ("threads = 1.5", "manager.toml:1: threads is a float"),
        ("threads = [1, 2]", "one value, not a list"),
        ("drain_timeout = 5", "with its unit, such as 200ms, 5s"),
        ("max_value_bytes = \"4MB\"", "256KiB, 4MiB"),
        ("max_value_bytes = \"2GiB\"", "from 1KiB to 1GiB"),
        ("listen = []", "at least one address"),
        ("listen = [\"tcp://a:1\"]", "unix:PATH"),
        ("log = \"lou=d\"", "error, warn, info or debug"),
        ("insecure_plaintext = \"yes\"", "true or false"),
    ] {
        let problem = problem(file);
        assert!(problem.contains(says), "{says} in {problem}");
    }
    let of_variable = resolved(&[], &[("HOLDFAST_THREADS", "many")], "").unwrap_err();
    assert!(of_variable.contains("HOLDFAST_THREADS: \"many\" is no value of threads"), "{of_variable}");
    // Also where something else goes before it.
    assert!(resolved(&[("threads", "1")], &[], "threads = 0").is_err());
}

#[test]
fn keys_flags_and_variables_are_distinct() {
    let declared = declared();
    let mut names: Vec<String> = declared.iter().flat_map(|one| [one.about.flag(), one.about.variable()]).collect();
    names.sort();
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
}

/// The tables of `docs/configuration.md`, as the declarations have them.
fn tables() -> String {
    let mut text = String::new();
    let mut heading = "";
    for setting in declared() {
        if heading != setting.heading {
            heading = setting.heading;
            text.push_str(&format!("\n## {heading}\n\n| key | environment | default | |\n|---|---|---|---|\n"));
        }
        let About { key, .. } = setting.about;
        let help: Vec<String> = setting.about.help().collect();
        let default = match setting.about.default {
            Some(words) => words.to_owned(),
            None => format!("`{}`", setting.default()),
        };
        text.push_str(&format!("| `{key}` | `{}` | {default} | {} |\n", setting.about.variable(), help.join(" ")));
    }
    text
}

fn document(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)).unwrap()
}

#[test]
fn the_documents_say_what_the_declarations_say() {
    let configuration = document("docs/configuration.md");
    let written = configuration.split_once("<!-- the settings -->\n").expect("the mark is there").1;
    assert!(written == tables(), "docs/configuration.md is to end with this:\n{}", tables());

    // The other documents name limits beside what they mean there; name and default must be the right ones.
    let protocol = document("docs/protocol.md");
    let chapter = protocol.split("\n## ").find(|chapter| chapter.starts_with("8. Limits")).unwrap();
    let rows: BTreeMap<&str, &str> = chapter
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` | "))
        .map(|(name, rest)| (name, rest.split(" | ").next().unwrap()))
        .collect();
    for setting in declared().iter().filter(|setting| setting.heading == "Limits") {
        let default = rows.get(setting.about.field).unwrap_or_else(|| panic!("{} is missing", setting.about.field));
        let default = default.replace([',', ' '], "");
        let expected = setting.default().replace(' ', "");
        assert!(default.starts_with(&expected), "{}: {expected}, not {default}", setting.about.field);
    }
    let limits = declared().iter().filter(|setting| setting.heading == "Limits").count();
    assert_eq!(rows.len(), limits, "limits that are none: {rows:?}");
}
