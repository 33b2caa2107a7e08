//! How a setting is declared: once, and everything else about it follows.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use holdfast_proto::place::Address;
use holdfast_stream::{BusyPoll, NotBusyPoll};

/// What is said of a setting, whatever it belongs to.
#[derive(Clone, Copy, Debug)]
pub struct About {
    /// Its key in a configuration file. Its flag is this with hyphens.
    pub key: &'static str,
    /// The field that it is. For a limit, the name by which refusals call it.
    pub field: &'static str,
    /// The environment variable that it has instead of `HOLDFAST_` and the key.
    pub variable: Option<&'static str>,
    /// What its value is called, such as `SIZE`.
    pub value: &'static str,
    /// How its value is written in TOML.
    pub shape: Shape,
    /// Its default in words, where it depends on the machine.
    pub default: Option<&'static str>,
    /// The documentation of the field, as it is written there.
    pub documentation: &'static str,
}

/// How a value is written in TOML.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// As it is: a number.
    Bare,
    /// As it is: true or false. Its flag needs no value.
    Switch,
    /// As a string.
    Quoted,
    /// As an array of strings. Its flag may be given several times.
    List,
}

impl About {
    /// The environment variable that sets it.
    #[must_use]
    pub fn variable(&self) -> String {
        self.variable.map_or_else(|| format!("HOLDFAST_{}", self.key.to_uppercase()), str::to_owned)
    }

    /// The flag that sets it, without its two hyphens.
    #[must_use]
    pub fn flag(&self) -> String {
        self.key.replace('_', "-")
    }

    /// What it is for: the paragraphs of its documentation, each on a line.
    pub fn help(&self) -> impl Iterator<Item = String> {
        let paragraphs = self.documentation.split("\n\n");
        paragraphs.map(|paragraph| paragraph.split_whitespace().collect::<Vec<_>>().join(" "))
    }
}

/// One setting of a `T`.
#[derive(Debug)]
pub struct Setting<T> {
    /// What is said of it.
    pub about: About,
    /// Its value as texts, of which only a [`Shape::List`] has other than one.
    pub get: fn(&T) -> Vec<String>,
    /// Its value as a number: of things, of bytes, of milliseconds. 0 for what is no number.
    pub number: fn(&T) -> u64,
    /// Sets it to the value that the texts stand for, or says why they stand for none.
    pub set: fn(&mut T, &[&str]) -> Result<(), String>,
}

/// What is made of settings: a struct that [`settings!`](macro@crate::settings) has written.
pub trait Settings: Default + 'static {
    /// Every setting, in the order of the fields.
    fn settings() -> &'static [Setting<Self>];
}

/// Declares a struct whose fields are settings.
///
/// The documentation of a field is its help. What follows it is the key; in brackets, an environment variable that does
/// not follow from the key; name and type of the field; the [`Form`] of its value, and in which bounds it must lie; its
/// default; and the default in words, if it depends on the machine.
#[macro_export]
macro_rules! settings {
    (
        $(#[$meta:meta])*
        $visible:vis struct $Name:ident {
            $(
                $(#[doc = $help:literal])+
                $key:literal $([$variable:literal])?
                $field:ident: $Type:ty as $Form:ident $(in $bounds:expr)?, = $default:expr $(, $words:literal)?;
            )+
        }
    ) => {
        $(#[$meta])*
        $visible struct $Name {
            $($(#[doc = $help])+ pub $field: $Type,)+
        }

        impl Default for $Name {
            fn default() -> Self {
                Self { $($field: $default,)+ }
            }
        }

        impl $crate::settings::Settings for $Name {
            fn settings() -> &'static [$crate::settings::Setting<Self>] {
                use $crate::settings::{About, Form, Setting, within};
                const SETTINGS: &[Setting<$Name>] = &[$(Setting {
                    about: About {
                        key: $key,
                        field: stringify!($field),
                        variable: $crate::settings!(@maybe $($variable)?),
                        value: <$Form as Form<$Type>>::VALUE,
                        shape: <$Form as Form<$Type>>::SHAPE,
                        default: $crate::settings!(@maybe $($words)?),
                        documentation: concat!($($help, "\n"),+),
                    },
                    get: |of| <$Form as Form<$Type>>::write(&of.$field),
                    number: |of| <$Form as Form<$Type>>::measure(&of.$field).0,
                    set: |of, texts| {
                        let value = <$Form as Form<$Type>>::read(texts)?;
                        $(within::<$Form, $Type>(&value, &$bounds)?;)?
                        of.$field = value;
                        Ok(())
                    },
                }),+];
                SETTINGS
            }
        }
    };
    (@maybe) => { None };
    (@maybe $some:literal) => { Some($some) };
}

/// A way to write values of a type.
pub trait Form<T> {
    /// What a value is called in help.
    const VALUE: &'static str;
    /// How it is written in TOML.
    const SHAPE: Shape = Shape::Quoted;

    /// The value that texts stand for, or why they stand for none.
    fn read(texts: &[&str]) -> Result<T, String>;

    /// Texts that stand for a value.
    fn write(value: &T) -> Vec<String>;

    /// The value as a number that bounds can be compared with, and such a number as a text.
    fn measure(value: &T) -> (u64, fn(u64) -> String) {
        let _ = value;
        (0, |number| number.to_string())
    }
}

/// Checks that a value lies within its bounds.
pub fn within<F: Form<T>, T>(value: &T, bounds: &RangeInclusive<u64>) -> Result<(), String> {
    let (number, text) = F::measure(value);
    if bounds.contains(&number) {
        return Ok(());
    }
    let (least, most) = (text(*bounds.start()), text(*bounds.end()));
    Err(match *bounds.end() {
        u64::MAX => format!("it must be at least {least}"),
        _ => format!("it must be from {least} to {most}"),
    })
}

fn one<'a>(texts: &[&'a str]) -> Result<&'a str, String> {
    match texts {
        [text] => Ok(text.trim()),
        _ => Err("it has one value, not a list".to_owned()),
    }
}

fn fits<T: TryFrom<u64>>(number: u64) -> Result<T, String> {
    T::try_from(number).map_err(|_| format!("{number} is too much"))
}

/// A number of things: `4096`.
#[derive(Debug)]
pub struct Count;

impl<T: TryFrom<u64> + Copy + Display> Form<T> for Count
where
    u64: TryFrom<T>,
{
    const VALUE: &'static str = "N";
    const SHAPE: Shape = Shape::Bare;

    fn read(texts: &[&str]) -> Result<T, String> {
        let number = one(texts)?.parse().map_err(|_| "it is a number, such as 4096".to_owned());
        number.and_then(fits)
    }

    fn write(value: &T) -> Vec<String> {
        vec![value.to_string()]
    }

    fn measure(value: &T) -> (u64, fn(u64) -> String) {
        (u64::try_from(*value).unwrap_or(u64::MAX), |number| number.to_string())
    }
}

/// A number of bytes: `1000`, `256KiB`, `4MiB`, `1GiB`.
#[derive(Debug)]
pub struct Size;

const SIZES: [(&str, u64); 4] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

impl<T: TryFrom<u64> + Copy> Form<T> for Size
where
    u64: TryFrom<T>,
{
    const VALUE: &'static str = "SIZE";

    fn read(texts: &[&str]) -> Result<T, String> {
        in_units(one(texts)?, &SIZES, Some(1), "it is a number of bytes, such as 1000, 256KiB, 4MiB or 1GiB")
            .and_then(fits)
    }

    fn write(value: &T) -> Vec<String> {
        vec![with_unit(u64::try_from(*value).unwrap_or(u64::MAX), &SIZES, "")]
    }

    fn measure(value: &T) -> (u64, fn(u64) -> String) {
        (u64::try_from(*value).unwrap_or(u64::MAX), |number| with_unit(number, &SIZES, ""))
    }
}

/// A span of time: `200ms`, `5s`, `10min`, `1h`.
#[derive(Debug)]
pub struct Span;

const SPANS: [(&str, u64); 3] = [("h", 3_600_000), ("min", 60_000), ("s", 1000)];

impl Form<Duration> for Span {
    const VALUE: &'static str = "TIME";

    fn read(texts: &[&str]) -> Result<Duration, String> {
        let units = [("ms", 1), SPANS[0], SPANS[1], SPANS[2]];
        let problem = "it is a time with its unit, such as 200ms, 5s, 10min or 1h";
        in_units(one(texts)?, &units, None, problem).map(Duration::from_millis)
    }

    fn write(value: &Duration) -> Vec<String> {
        let (milliseconds, text) = Self::measure(value);
        vec![text(milliseconds)]
    }

    fn measure(value: &Duration) -> (u64, fn(u64) -> String) {
        (u64::try_from(value.as_millis()).unwrap_or(u64::MAX), |number| with_unit(number, &SPANS, "ms"))
    }
}

/// A number and its unit. `bare` is what a number without a unit counts for.
fn in_units(text: &str, units: &[(&str, u64)], bare: Option<u64>, problem: &str) -> Result<u64, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim_start();
    let known = units.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor);
    let factor = known.or(bare.filter(|_| unit.is_empty())).ok_or_else(|| problem.to_owned())?;
    let number: u64 = number.parse().map_err(|_| problem.to_owned())?;
    number.checked_mul(factor).ok_or_else(|| format!("{text} is too much"))
}

/// A number in the largest unit of which it is a multiple.
fn with_unit(number: u64, units: &[(&str, u64)], smallest: &str) -> String {
    let unit = units.iter().find(|(_, factor)| number != 0 && number.is_multiple_of(*factor));
    unit.map_or_else(|| format!("{number}{smallest}"), |(name, factor)| format!("{}{name}", number / factor))
}

/// Yes or no: `true`, `false`.
#[derive(Debug)]
pub struct Switch;

impl Form<bool> for Switch {
    const VALUE: &'static str = "BOOL";
    const SHAPE: Shape = Shape::Switch;

    fn read(texts: &[&str]) -> Result<bool, String> {
        one(texts)?.parse().map_err(|_| "it is true or false".to_owned())
    }

    fn write(value: &bool) -> Vec<String> {
        vec![value.to_string()]
    }
}

/// How to poll: `auto`, `off`, `50`.
#[derive(Debug)]
pub struct Polling;

impl Form<BusyPoll> for Polling {
    const VALUE: &'static str = "auto|off|MICROSECONDS";

    fn read(texts: &[&str]) -> Result<BusyPoll, String> {
        one(texts)?.parse().map_err(|error: NotBusyPoll| error.to_string())
    }

    fn write(value: &BusyPoll) -> Vec<String> {
        vec![value.to_string()]
    }
}

/// The path of a file.
#[derive(Debug)]
pub struct File;

impl Form<PathBuf> for File {
    const VALUE: &'static str = "PATH";

    fn read(texts: &[&str]) -> Result<PathBuf, String> {
        match texts {
            [""] => Err("it is the path of a file, and this is empty".to_owned()),
            [path] => Ok(PathBuf::from(path)),
            _ => Err("it has one value, not a list".to_owned()),
        }
    }

    fn write(value: &PathBuf) -> Vec<String> {
        vec![value.display().to_string()]
    }
}

/// No file, or the path of one. Nothing stands for no file.
impl Form<Option<PathBuf>> for File {
    const VALUE: &'static str = "PATH";

    fn read(texts: &[&str]) -> Result<Option<PathBuf>, String> {
        if *texts == [""] { Ok(None) } else { <Self as Form<PathBuf>>::read(texts).map(Some) }
    }

    fn write(value: &Option<PathBuf>) -> Vec<String> {
        vec![value.as_ref().map(|path| path.display().to_string()).unwrap_or_default()]
    }
}

/// Addresses: `unix:PATH`, `http://HOST:PORT`, `https://HOST:PORT`.
#[derive(Debug)]
pub struct Addresses;

impl Form<Vec<Address>> for Addresses {
    const VALUE: &'static str = "ADDRESS";
    const SHAPE: Shape = Shape::List;

    fn read(texts: &[&str]) -> Result<Vec<Address>, String> {
        if texts.is_empty() {
            return Err("it is a list of at least one address".to_owned());
        }
        texts.iter().map(|text| text.parse::<Address>().map_err(|error| error.to_string())).collect()
    }

    fn write(value: &Vec<Address>) -> Vec<String> {
        value.iter().map(Address::to_string).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_are_read_with_their_units_and_written_as_short_as_they_can_be() {
        let size = |text: &str| <Size as Form<u64>>::read(&[text]);
        for (text, bytes) in
            [("1000", 1000), ("256KiB", 256 << 10), ("4MiB", 4 << 20), ("1GiB", 1 << 30), ("1 TiB", 1 << 40)]
        {
            assert_eq!(size(text), Ok(bytes));
            assert_eq!(size(&<Size as Form<u64>>::write(&bytes)[0]), Ok(bytes));
        }
        assert_eq!(<Size as Form<u64>>::write(&(1536 << 10)), ["1536KiB"]);
        assert_eq!(<Size as Form<u64>>::write(&0), ["0"]);
        for text in ["", "KiB", "1KB", "1mib", "-1", "1.5MiB", "99999999TiB", "1MiB 2KiB"] {
            assert!(size(text).is_err(), "{text}");
        }
        assert_eq!(<Size as Form<u32>>::read(&["4GiB"]).unwrap_err(), "4294967296 is too much");

        let span = |text: &str| Span::read(&[text]).map(|span| span.as_millis());
        for (text, milliseconds) in [("200ms", 200), ("5s", 5000), ("10min", 600_000), ("1h", 3_600_000), ("0s", 0)] {
            assert_eq!(span(text), Ok(milliseconds));
        }
        assert_eq!(Span::write(&Duration::from_millis(90_000)), ["90s"]);
        assert_eq!(Span::write(&Duration::ZERO), ["0ms"]);
        assert!(span("5").unwrap_err().contains("unit"), "seconds or milliseconds?");
    }

    #[test]
    fn bounds_are_told_in_the_form_of_the_value() {
        assert_eq!(within::<Size, u64>(&1, &(1024..=1 << 20)).unwrap_err(), "it must be from 1KiB to 1MiB");
        assert_eq!(within::<Count, u32>(&0, &(1..=u64::MAX)).unwrap_err(), "it must be at least 1");
        assert_eq!(within::<Count, u32>(&1, &(1..=1)), Ok(()));
    }
}
