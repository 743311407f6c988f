//! The fields that a condition can see: their types, their units, and what stands for them in a row.
//!
//! A row holds each as a number of 64 bits: texts of at most eight characters as their bytes, words as
//! their codes, documents and keyed hashes as they are. So a program copies numbers, and nothing else.

use catraca_wire::DocumentKey;

/// What a number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// A number by itself: it goes with every unit.
    Plain,
    /// Centavos of a real.
    Centavos,
    /// Seconds.
    Seconds,
    /// Hours of a day, 0 to 23.
    HourOfDay,
    /// Minutes of a day, 0 to 1439.
    MinuteOfDay,
}

impl Unit {
    /// In words.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "a plain number",
            Self::Centavos => "centavos",
            Self::Seconds => "seconds",
            Self::HourOfDay => "an hour of the day",
            Self::MinuteOfDay => "a minute of the day",
        }
    }
}

/// Words and their codes.
pub(super) type Words = &'static [(&'static str, i64)];

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    Bool,
    Int(Unit),
    /// One of some words.
    Word(Words),
    /// ASCII of at most eight characters.
    Text,
    /// Something that can only be the same as another of its kind.
    Opaque(&'static str),
    /// What a validator answered, by its place among those of the policy: one of its words.
    Answer(u8),
    /// A text that stands in the condition, before it is known what it is compared with.
    Quoted,
}

impl Type {
    pub fn name(self) -> String {
        match self {
            Self::Bool => "true or false".to_owned(),
            Self::Int(unit) => unit.name().to_owned(),
            Self::Word(words) => {
                let words: Vec<_> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
                format!("one of {}", words.join(", "))
            }
            Self::Text | Self::Quoted => "a text".to_owned(),
            Self::Opaque(kind) => kind.to_owned(),
            Self::Answer(_) => "an answer of a validator".to_owned(),
        }
    }
}

/// Most characters of a text that a field holds.
pub(super) const MAX_TEXT_LEN: usize = 8;

const RAILS: Words = &[("other", 0), ("pix", 1), ("ted", 2), ("boleto", 3), ("card", 4)];
const CHANNELS: Words =
    &[("other", 0), ("app", 1), ("web", 2), ("api", 3), ("branch", 4), ("atm", 5)];
const WEEKDAYS: Words = &[
    ("monday", 1),
    ("tuesday", 2),
    ("wednesday", 3),
    ("thursday", 4),
    ("friday", 5),
    ("saturday", 6),
    ("sunday", 7),
];
const KINDS: Words = &[("cpf", 1), ("cnpj", 2)];
const LISTS: Words = &[("ceis", 1), ("cnep", 2), ("cepim", 3), ("plain", 4), ("overlay", 5)];

macro_rules! fields {
    ($($(#[$doc:meta])* $variant:ident = $name:literal: $ty:expr, $optional:literal;)+) => {
        /// A field.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Field {
            $($(#[$doc])* $variant,)+
        }

        impl Field {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// As it is written.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            pub(super) const fn ty(self) -> Type {
                match self {
                    $(Self::$variant => $ty,)+
                }
            }

            /// Whether a transaction may lack it.
            pub const fn is_optional(self) -> bool {
                match self {
                    $(Self::$variant => $optional,)+
                }
            }
        }
    };
}

fields! {
    /// What is paid.
    Amount = "tx.amount": Type::Int(Unit::Centavos), false;
    /// How it is paid.
    Rail = "tx.rail": Type::Word(RAILS), false;
    /// Where it was asked for.
    Channel = "tx.channel": Type::Word(CHANNELS), false;
    /// The local hour in which it happened.
    Hour = "tx.hour": Type::Int(Unit::HourOfDay), false;
    /// The local minute in which it happened, counted from midnight.
    MinuteOfDay = "tx.minute_of_day": Type::Int(Unit::MinuteOfDay), false;
    /// The local day of the week on which it happened.
    Weekday = "tx.weekday": Type::Word(WEEKDAYS), false;
    /// How long ago it happened, when it is decided.
    Age = "tx.age": Type::Int(Unit::Seconds), false;
    /// The payer's account.
    PayerAccount = "tx.payer_account": Type::Opaque("an account"), true;
    /// The payee's account.
    PayeeAccount = "tx.payee_account": Type::Opaque("an account"), true;
    /// The Pix key.
    PixKey = "tx.pix_key": Type::Opaque("a Pix key"), true;
    /// The device.
    Device = "tx.device": Type::Opaque("a device"), true;
    /// The payer's institution.
    PayerIspb = "tx.payer_ispb": Type::Text, true;
    /// The payee's institution.
    PayeeIspb = "tx.payee_ispb": Type::Text, true;
    /// The payer's document.
    PayerDocument = "payer.document": Type::Opaque("a document"), false;
    /// What the payer's document is.
    PayerKind = "payer.kind": Type::Word(KINDS), false;
    /// The payer's company.
    PayerRoot = "payer.root": Type::Opaque("a company"), true;
    /// A list names the payer, and nothing allows it.
    PayerListed = "payer.listed": Type::Bool, false;
    /// Which list.
    PayerList = "payer.list": Type::Word(LISTS), true;
    /// A list names the payer, and it is allowed all the same.
    PayerAllowed = "payer.allowed": Type::Bool, false;
    /// The payee's document.
    PayeeDocument = "payee.document": Type::Opaque("a document"), false;
    /// What the payee's document is.
    PayeeKind = "payee.kind": Type::Word(KINDS), false;
    /// The payee's company.
    PayeeRoot = "payee.root": Type::Opaque("a company"), true;
    /// A list names the payee, and nothing allows it.
    PayeeListed = "payee.listed": Type::Bool, false;
    /// Which list.
    PayeeList = "payee.list": Type::Word(LISTS), true;
    /// A list names the payee, and it is allowed all the same.
    PayeeAllowed = "payee.allowed": Type::Bool, false;
}

impl Field {
    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();

    /// What stands in the field, for people: documents masked.
    pub fn text(self, value: i64) -> String {
        self.ty().text(value)
    }

    /// The field of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|field| field.name() == name)
    }
}

impl Type {
    /// A value, for people: documents masked.
    pub fn text(self, value: i64) -> String {
        match self {
            Self::Bool => (value != 0).to_string(),
            Self::Int(Unit::Centavos) => format!("{value} centavos"),
            Self::Int(Unit::Seconds) => format!("{value} seconds"),
            Self::Int(_) | Self::Answer(_) => value.to_string(),
            Self::Word(words) => words
                .iter()
                .find(|(_, code)| *code == value)
                .map_or_else(|| value.to_string(), |(word, _)| format!("\"{word}\"")),
            Self::Text | Self::Quoted => {
                let bytes = value.to_be_bytes();
                let len = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
                format!("{:?}", String::from_utf8_lossy(&bytes[..len]))
            }
            Self::Opaque("a document") => match DocumentKey::from_raw(value as u64) {
                Some(document) => document.to_string(),
                None => "unreadable".to_owned(),
            },
            // Whose company it is would be told by its number.
            Self::Opaque("a company") => "a company".to_owned(),
            Self::Opaque(_) => format!("{value:016x}"),
        }
    }
}
