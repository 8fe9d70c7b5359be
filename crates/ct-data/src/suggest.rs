//! The nearest of several words, for messages about misspelt ones.

use strsim::levenshtein as distance;

/// The candidate nearest to `word`, if one is near: at most half its letters differ, or one contains the other.
pub(crate) fn nearest<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    let word = word.to_lowercase();
    let near = |candidate: &&&str| {
        let letters = word.chars().count().max(candidate.chars().count());
        let contained = word.len() >= 3 && candidate.contains(&word)
            || candidate.len() >= 3 && word.contains(**candidate);
        contained || 2 * distance(&word, candidate) <= letters
    };
    candidates.iter().filter(near).min_by_key(|candidate| distance(&word, candidate)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (a, b, expected) in
            [("", "abc", 3), ("abc", "", 3), ("kitten", "sitting", 3), ("same", "same", 0)]
        {
            assert_eq!(distance(a, b), expected, "{a} {b}");
        }
    }

    #[test]
    fn far_words_suggest_nothing() {
        assert_eq!(nearest("zzzzzz", &["digits", "toy"]), None);
        assert_eq!(nearest("Digit", &["digits", "toy"]), Some("digits"));
        assert_eq!(nearest("moons", &["two-moons"]), Some("two-moons"));
    }
}
