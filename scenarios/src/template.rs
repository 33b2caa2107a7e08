//! Messages in protobuf's text format, in which numbers may be variables.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message as _;
use prost_reflect::{Cardinality, DynamicMessage, FieldDescriptor, MessageDescriptor, ReflectMessage, Value};

/// What the variables of a scenario stand for, as far as it is known.
pub(crate) type Bindings = BTreeMap<String, i128>;

/// A message with variables in the places of numbers.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    message: DynamicMessage,
    /// In the order in which they occur.
    variables: Vec<Variable>,
    fields: Fields,
}

/// The fields that a text has, by their paths: `abandoned.fence`.
#[derive(Clone, Debug, Default)]
struct Fields {
    named: BTreeSet<String>,
    /// The messages that may have other fields, too, by the beginnings of their paths: `abandoned.`.
    open: BTreeSet<String>,
}

/// A variable where it occurs: `$name > $other < $third`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Variable {
    pub(crate) name: String,
    pub(crate) bounds: Vec<(Bound, String)>,
}

/// How a variable compares to another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bound {
    Above,
    Below,
}

/// While the text format is read, this number and those above it stand for variables. They fit every type of number.
const VARIABLES: i64 = 2_139_000_000;

impl Template {
    /// Reads a message of this type.
    pub(crate) fn read(text: &str, message: MessageDescriptor) -> Result<Self, String> {
        let Scanned { text, variables, fields, .. } = scan(text)?;
        let name = message.name().to_owned();
        let message = DynamicMessage::parse_text_format(message, &text)
            .map_err(|error| format!("{text:?} is no {name}: {}", explained(&error)))?;
        Ok(Self { message, variables, fields })
    }

    /// Whether a field stands in it, by its path.
    pub(crate) fn has_field(&self, path: &str) -> bool {
        self.fields.named.contains(path)
    }

    /// That nothing stands in it that only an answer may have.
    pub(crate) fn must_be_plain(&self) -> Result<(), String> {
        if !self.fields.open.is_empty() || self.variables.iter().any(|variable| !variable.bounds.is_empty()) {
            return Err("what is sent is said in full: `...`, `>` and `<` belong into answers".into());
        }
        Ok(())
    }

    /// The message with what its variables stand for, encoded.
    pub(crate) fn fill(&self, bindings: &Bindings) -> Result<Vec<u8>, String> {
        let mut message = self.message.clone();
        self.fill_message(&mut message, bindings)?;
        Ok(message.encode_to_vec())
    }

    fn fill_message(&self, message: &mut DynamicMessage, bindings: &Bindings) -> Result<(), String> {
        message.fields_mut().try_for_each(|(_, value)| self.fill_value(value, bindings))
    }

    fn fill_value(&self, value: &mut Value, bindings: &Bindings) -> Result<(), String> {
        if let Some(variable) = self.variable(value) {
            let bound = bindings.get(&variable.name).ok_or_else(|| unknown(&variable.name))?;
            let does_not_fit = |_| format!("${} is {bound}, which does not fit the field", variable.name);
            *value = match value {
                Value::U64(_) => Value::U64((*bound).try_into().map_err(does_not_fit)?),
                Value::I64(_) => Value::I64((*bound).try_into().map_err(does_not_fit)?),
                Value::U32(_) => Value::U32((*bound).try_into().map_err(does_not_fit)?),
                _ => Value::I32((*bound).try_into().map_err(does_not_fit)?),
            };
            return Ok(());
        }
        match value {
            Value::Message(message) => self.fill_message(message, bindings),
            Value::List(values) => values.iter_mut().try_for_each(|value| self.fill_value(value, bindings)),
            _ => Ok(()),
        }
    }

    /// Compares an encoded message with this one, and learns what new variables stand for.
    pub(crate) fn compare(&self, got: &[u8], bindings: &mut Bindings) -> Result<(), String> {
        let got = decode(&self.message.descriptor(), got)?;
        self.compare_messages("", &self.message, &got, bindings)?;
        self.variables.iter().try_for_each(|variable| variable.keeps_bounds(bindings))
    }

    fn compare_messages(
        &self,
        path: &str,
        expected: &DynamicMessage,
        got: &DynamicMessage,
        bindings: &mut Bindings,
    ) -> Result<(), String> {
        for field in expected.descriptor().fields() {
            let (is_expected, is_there) = (expected.has_field(&field), got.has_field(&field));
            let may_be_other = || self.fields.may_have_other(path, field.name());
            let path = format!("{path}{}", field.name());
            if is_expected && !is_there && can_be_unset(&field) {
                return Err(format!("{path} is not set"));
            }
            if is_there && !is_expected && may_be_other() {
                continue;
            }
            if is_there && !is_expected && can_be_unset(&field) {
                return Err(format!("{path} is set"));
            }
            self.compare_values(&path, &expected.get_field(&field), &got.get_field(&field), bindings)?;
        }
        Ok(())
    }

    fn compare_values(&self, path: &str, expected: &Value, got: &Value, bindings: &mut Bindings) -> Result<(), String> {
        if let Some(variable) = self.variable(expected) {
            let got = number(got).expect("the fields are of one type");
            return bind(path, &variable.name, got, bindings);
        }
        match (expected, got) {
            (Value::Message(expected), Value::Message(got)) => {
                self.compare_messages(&format!("{path}."), expected, got, bindings)
            }
            (Value::List(expected), Value::List(got)) => {
                if expected.len() != got.len() {
                    return Err(format!("{path} has {} elements and not {}", got.len(), expected.len()));
                }
                let mut pairs = expected.iter().zip(got).enumerate();
                pairs.try_for_each(|(at, (expected, got))| {
                    self.compare_values(&format!("{path}[{at}]"), expected, got, bindings)
                })
            }
            _ if expected == got => Ok(()),
            _ => Err(format!("{path} is {got} and not {expected}")),
        }
    }

    fn variable(&self, value: &Value) -> Option<&Variable> {
        let at = usize::try_from(number(value)? - i128::from(VARIABLES)).ok()?;
        self.variables.get(at)
    }
}

impl Variable {
    /// Compares a number that stands for itself, and not in a message.
    pub(crate) fn compare(&self, what: &str, got: i128, bindings: &mut Bindings) -> Result<(), String> {
        bind(what, &self.name, got, bindings)?;
        self.keeps_bounds(bindings)
    }

    fn keeps_bounds(&self, bindings: &Bindings) -> Result<(), String> {
        let value = |name: &String| bindings.get(name).copied().ok_or_else(|| unknown(name));
        for (bound, other) in &self.bounds {
            let (this, that) = (value(&self.name)?, value(other)?);
            let (holds, relation) = match bound {
                Bound::Above => (this > that, "above"),
                Bound::Below => (this < that, "below"),
            };
            if !holds {
                return Err(format!("${} is {this} and not {relation} ${other}, which is {that}", self.name));
            }
        }
        Ok(())
    }
}

/// At first sight a variable takes what is there; afterwards it must be the same.
fn bind(path: &str, name: &str, got: i128, bindings: &mut Bindings) -> Result<(), String> {
    let bound = *bindings.entry(name.to_owned()).or_insert(got);
    if bound == got { Ok(()) } else { Err(format!("{path} is {got} and not ${name}, which is {bound}")) }
}

/// A message of this type in the text format, for people.
pub(crate) fn shown(message: &MessageDescriptor, encoded: &[u8]) -> String {
    match decode(message, encoded) {
        Ok(message) if message.fields().next().is_none() => "done".to_owned(),
        Ok(message) => message.to_text_format(),
        Err(problem) => problem,
    }
}

fn decode(message: &MessageDescriptor, encoded: &[u8]) -> Result<DynamicMessage, String> {
    DynamicMessage::decode(message.clone(), encoded)
        .map_err(|error| format!("{encoded:?} is no {}: {error}", message.name()))
}

fn unknown(name: &str) -> String {
    format!("${name} stands for nothing: an answer above must have had it")
}

fn can_be_unset(field: &FieldDescriptor) -> bool {
    field.supports_presence() && field.cardinality() != Cardinality::Repeated
}

fn number(value: &Value) -> Option<i128> {
    match *value {
        Value::U64(number) => Some(number.into()),
        Value::I64(number) => Some(number.into()),
        Value::U32(number) => Some(number.into()),
        Value::I32(number) => Some(number.into()),
        _ => None,
    }
}

impl Fields {
    /// Whether a message, with this beginning of its path, may have a field that is not named.
    fn may_have_other(&self, prefix: &str, name: &str) -> bool {
        if self.open.is_empty() {
            return false;
        }
        // All elements of a list are one.
        let mut outside = prefix.split(['[', ']']).step_by(2).collect::<String>();
        self.open.contains(&outside) && {
            outside.push_str(name);
            !self.named.contains(&outside)
        }
    }
}

/// Text that prost-reflect can read, and what was taken out of it.
#[derive(Debug)]
struct Scanned<'a> {
    text: String,
    variables: Vec<Variable>,
    fields: Fields,
    /// The beginning of the path of each message that the text is in, and the field that was named last in it.
    messages: Vec<(String, &'a str)>,
}

fn scan(text: &str) -> Result<Scanned<'_>, String> {
    if text.contains(&VARIABLES.to_string()[..6]) {
        return Err(format!("numbers near {VARIABLES} stand for variables: use another one"));
    }
    let mut scanned = Scanned {
        text: String::new(),
        variables: Vec::new(),
        fields: Fields::default(),
        messages: vec![(String::new(), "")],
    };
    let mut rest = text;
    while !rest.is_empty() {
        rest = scanned.piece(rest)?;
    }
    Ok(scanned)
}

impl<'a> Scanned<'a> {
    /// Takes the first piece of the text, and leaves the rest.
    fn piece(&mut self, text: &'a str) -> Result<&'a str, String> {
        let first = text.chars().next().expect("the caller has some");
        let len = match first {
            '"' | '\'' => quoted_len(text),
            '$' => {
                let (variable, len) = variable(text)?;
                self.text.push_str(&(VARIABLES + self.variables.len() as i64).to_string());
                self.variables.push(variable);
                return Ok(&text[len..]);
            }
            '.' if text.starts_with("...") => {
                self.fields.open.insert(self.prefix());
                return Ok(&text[3..]);
            }
            _ if is_part_of_word(first) => {
                let word = word(text);
                if text[word.len()..].trim_start().starts_with([':', '{']) {
                    self.field(word);
                }
                word.len()
            }
            _ => first.len_utf8(),
        };
        match first {
            '{' => {
                let field = self.messages.last().map_or("", |(_, field)| field);
                self.messages.push((format!("{}{field}.", self.prefix()), ""));
            }
            // One too many is found by who reads the text.
            '}' => drop(self.messages.pop()),
            _ => {}
        }
        self.text.push_str(&text[..len]);
        Ok(&text[len..])
    }

    fn field(&mut self, name: &'a str) {
        self.fields.named.insert(self.prefix() + name);
        if let Some((_, last)) = self.messages.last_mut() {
            *last = name;
        }
    }

    fn prefix(&self) -> String {
        self.messages.last().map_or_else(String::new, |(prefix, _)| prefix.clone())
    }
}

/// Reads `$name > $other < $third`, and how long that is.
pub(crate) fn variable(text: &str) -> Result<(Variable, usize), String> {
    let named = |text: &str| match text.strip_prefix('$').map(word) {
        Some(name) if !name.is_empty() => Ok(name.to_owned()),
        _ => Err(format!("{text:?} is no variable: these are $ and a name")),
    };
    let name = named(text)?;
    let mut len = 1 + name.len();
    let mut bounds = Vec::new();
    loop {
        let rest = text[len..].trim_start();
        let bound = match rest.chars().next() {
            Some('>') => Bound::Above,
            Some('<') => Bound::Below,
            _ => return Ok((Variable { name, bounds }, len)),
        };
        let other_at = rest[1..].trim_start();
        let other = named(other_at)?;
        len = text.len() - other_at.len() + 1 + other.len();
        bounds.push((bound, other));
    }
}

fn word(text: &str) -> &str {
    &text[..text.find(|c| !is_part_of_word(c)).unwrap_or(text.len())]
}

fn is_part_of_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// The length of the quoted text that begins here, or of all if it does not end.
pub(crate) fn quoted_len(text: &str) -> usize {
    let quote = text.chars().next().expect("the caller saw a quote");
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// An error of prost-reflect with its causes.
fn explained(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
