//! Where an eps comes from, as data.
//!
//! In: who says so. Out: [`EpsSource`], with a stable code, the sentence that a plan shows, and whether the value is only
//! assumed.

use std::fmt;

/// Who says what a norm's eps is.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum EpsSource {
    /// A line of a plan file, in the words of its `eps_source`, if it has any.
    Plan(Option<String>),
    /// As a plan has it that was saved and read again: one of the other codes, and the sentence.
    Saved {
        /// The code.
        code: &'static str,
        /// The sentence.
        words: String,
    },
    /// The option for norms whose name matches a glob.
    ForNorms {
        /// The glob.
        glob: String,
    },
    /// The option for all norms.
    ForAll,
    /// A field of the `config.json` beside the checkpoint.
    Config {
        /// The field.
        field: String,
    },
    /// The catalogue, by the name of the architecture.
    Catalogue {
        /// Library, names and norms that the entry is about.
        about: String,
        /// Where the value can be read.
        cite: &'static str,
    },
    /// The catalogue, by names of modules that belong to one family.
    ModuleNames {
        /// The family, and a module that gives it away.
        about: String,
        /// Where the value can be read.
        cite: &'static str,
    },
    /// Assumed: the catalogue knows another value that the same architecture may have.
    AssumedUnless {
        /// That value.
        other: f64,
        /// When it holds.
        when: &'static str,
        /// Library and names that the entry is about.
        about: String,
        /// Where both can be read.
        cite: &'static str,
    },
    /// Assumed: the default of a library, whose architecture the catalogue does not know.
    AssumedLibrary {
        /// The library.
        library: &'static str,
        /// The architecture.
        name: String,
    },
    /// Assumed: the default of the framework.
    AssumedDialect {
        /// The framework, as plans call it.
        dialect: &'static str,
    },
}

impl EpsSource {
    /// The code of an eps that nobody stated.
    pub const ASSUMED: &'static str = "assumed";

    /// A name for it that stays the same from version to version; `assumed` for all that nobody stated.
    pub fn code(&self) -> &'static str {
        match self {
            EpsSource::Plan(_) => "plan",
            EpsSource::Saved { code, .. } => code,
            EpsSource::ForNorms { .. } => "eps-for",
            EpsSource::ForAll => "eps",
            EpsSource::Config { .. } => "config",
            EpsSource::Catalogue { .. } => "catalogue",
            EpsSource::ModuleNames { .. } => "module-names",
            EpsSource::AssumedUnless { .. } | EpsSource::AssumedLibrary { .. } | EpsSource::AssumedDialect { .. } => {
                EpsSource::ASSUMED
            }
        }
    }

    /// What a saved plan's line says: a code that is not known is a plan's own.
    pub(crate) fn saved(code: &str, words: String) -> EpsSource {
        const CODES: [&str; 6] = ["eps-for", "eps", "config", "catalogue", "module-names", EpsSource::ASSUMED];
        match CODES.iter().find(|known| **known == code) {
            Some(code) => EpsSource::Saved { code, words },
            None => EpsSource::Plan(Some(words)),
        }
    }

    /// Whether nobody stated the value.
    pub fn is_assumed(&self) -> bool {
        self.code() == EpsSource::ASSUMED
    }

    /// As plans and reports write it: where the caller states the value, in the words of the format (docs/formats.md), which
    /// are the names of the options; otherwise the sentence.
    pub fn written(&self) -> String {
        match self {
            EpsSource::ForNorms { glob } => format!("--eps-for {glob}"),
            EpsSource::ForAll => "--eps".to_owned(),
            _ => self.to_string(),
        }
    }

    /// The sentence without the citation.
    pub fn brief(&self) -> String {
        match self {
            EpsSource::Plan(None) => "plan".to_owned(),
            EpsSource::Plan(Some(words)) | EpsSource::Saved { words, .. } => words.clone(),
            EpsSource::ForNorms { glob } => format!("stated for {glob}"),
            EpsSource::ForAll => "stated".to_owned(),
            EpsSource::Config { field } => format!("config.json: {field}"),
            EpsSource::Catalogue { about, .. } | EpsSource::ModuleNames { about, .. } => format!("catalogue: {about}"),
            EpsSource::AssumedUnless { other, when, about, .. } => {
                format!("assumed: but {other:e} {when}; catalogue: {about}")
            }
            EpsSource::AssumedLibrary { library, name } => {
                format!("assumed: the default of {library}, since the catalogue does not know `{name}`")
            }
            EpsSource::AssumedDialect { dialect } => format!("assumed: the default of {dialect}"),
        }
    }

    fn cite(&self) -> Option<&'static str> {
        match self {
            EpsSource::Catalogue { cite, .. }
            | EpsSource::ModuleNames { cite, .. }
            | EpsSource::AssumedUnless { cite, .. } => Some(cite),
            _ => None,
        }
    }
}

impl fmt::Display for EpsSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.brief())?;
        self.cite().map_or(Ok(()), |cite| write!(f, " ({cite})"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_saved_keeps_code_and_sentence() {
        let about = || "timm dpn*".to_owned();
        let all = [
            EpsSource::Plan(Some("the paper".to_owned())),
            EpsSource::ForNorms { glob: "head.*".to_owned() },
            EpsSource::ForAll,
            EpsSource::Config { field: "batch_norm_eps".to_owned() },
            EpsSource::Catalogue { about: about(), cite: "timm 1.0.31" },
            EpsSource::ModuleNames { about: about(), cite: "timm 1.0.31" },
            EpsSource::AssumedUnless { other: 1e-3, when: "pretrained", about: about(), cite: "timm 1.0.31" },
            EpsSource::AssumedLibrary { library: "timm", name: "dpn".to_owned() },
            EpsSource::AssumedDialect { dialect: "keras" },
        ];
        for source in all {
            let saved = EpsSource::saved(source.code(), source.written());
            assert_eq!((saved.code(), saved.written()), (source.code(), source.written()));
            assert_eq!(saved.is_assumed(), source.is_assumed());
        }
    }
}
