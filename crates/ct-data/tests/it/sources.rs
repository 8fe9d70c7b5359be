//! Specs and the options that go with them.

use ct_data::{Error, LoadOptions, Source, Toy};

#[test]
fn specs_survive_a_round_trip() {
    let toys = Toy::ALL.map(|toy| format!("toy:{toy}"));
    let others = ["digits", "folder:a/b c", "idx:/x:y", "cifar10:."].map(str::to_owned);
    for spec in toys.into_iter().chain(others) {
        let source: Source = spec.parse().unwrap();
        assert_eq!(source.to_string(), spec);
        assert_eq!(source.to_string().parse::<Source>().unwrap(), source);
    }
}

#[test]
fn unknown_specs_suggest_the_nearest() {
    for (spec, expected) in [
        ("digit", Some("digits")),
        ("Digits", Some("digits")),
        ("digits:train", Some("digits")),
        ("toy:moons", Some("toy:two-moons")),
        ("toy:two_moons", Some("toy:two-moons")),
        ("toy:8-gaussians", Some("toy:eight-gaussians")),
        ("swiss-roll", Some("toy:swiss-roll")),
        ("toys:spirals", Some("toy:spirals")),
        ("folders:pics", Some("folder:pics")),
        ("cifar:data", Some("cifar10:data")),
        ("cifar10", Some("cifar10:PATH")),
        ("./pictures", Some("folder:./pictures")),
        ("C:\\pictures", Some("folder:C:\\pictures")),
        ("zzzzzzzz", None),
        ("", None),
        ("toy:", None),
    ] {
        let error = spec.parse::<Source>().unwrap_err();
        let message = error.to_string();
        let Error::UnknownSource { suggestion, .. } = error else {
            panic!("{spec}: {message}");
        };
        assert_eq!(suggestion.as_deref(), expected, "{spec}");
        assert!(message.contains("toy:checkerboard") && message.contains("cifar10:PATH"));
        assert_eq!(message.contains("did you mean"), expected.is_some());
    }
}

#[test]
fn a_kind_without_a_path_is_refused() {
    for kind in ["folder", "idx", "cifar10"] {
        let error = format!("{kind}:").parse::<Source>().unwrap_err();
        assert!(matches!(error, Error::PathMissing { kind: k } if k == kind));
    }
}

#[test]
fn impossible_options_are_refused() {
    for size in [[0, 8], [8, 0], [8193, 8], [8, 1_000_000]] {
        let options = LoadOptions { size: Some(size), ..LoadOptions::default() };
        let error = Source::Digits.load(&options).unwrap_err();
        assert!(matches!(error, Error::BadSize { .. }), "{size:?}");
    }
    for channels in [0, 2, 4] {
        let options = LoadOptions { channels: Some(channels), ..LoadOptions::default() };
        let error = Source::Digits.load(&options).unwrap_err();
        assert!(matches!(error, Error::BadChannels { channels: c } if c == channels));
    }
}
