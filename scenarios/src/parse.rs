//! How a scenario file is read.

use std::fmt;

use holdfast_proto::Reason;
use prost_reflect::MessageDescriptor;

use crate::catalogue::Kind;
use crate::door::Caller;
use crate::scenario::{Action, Expected, Other, Place, Scenario, Step, What};
use crate::template::{self, Template};

/// What is wrong with a scenario file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// The name of the file.
    pub file: String,
    /// The line.
    pub line: usize,
    /// What is wrong there.
    pub problem: String,
}

/// The letters of a name: as many as the id of a session has bytes, so that a door can make it of the name.
pub(crate) const NAME_MAX: usize = 16;

/// Reads the text of a scenario file for objects of a kind.
pub fn parse(file: &str, text: &str, kind: &Kind) -> Result<Vec<Scenario>, Unreadable> {
    let mut scenarios = Vec::new();
    for place in lines(text) {
        let read = line(file, kind, &mut scenarios, &place);
        read.map_err(|problem| Unreadable { file: file.to_owned(), line: place.line, problem })?;
    }
    match scenarios.iter().find(|scenario| scenario.steps.is_empty() && scenario.refused.is_none()) {
        Some(Scenario { line, .. }) => {
            Err(Unreadable { file: file.to_owned(), line: *line, problem: "nothing happens in this scenario".into() })
        }
        None => Ok(scenarios),
    }
}

/// The lines that say something, each with those that go on from it.
fn lines(text: &str) -> Vec<Place> {
    let mut places: Vec<Place> = Vec::new();
    let mut goes_on = false;
    for (at, line) in text.lines().enumerate() {
        let (part, goes_on_after) = match line.trim_end().strip_suffix('\\') {
            Some(part) => (part.trim_end(), true),
            None => (line.trim_end(), false),
        };
        match places.last_mut().filter(|_| goes_on) {
            Some(place) => {
                place.text.push(' ');
                place.text.push_str(part.trim_start());
            }
            None => places.push(Place { line: at + 1, text: part.to_owned() }),
        }
        goes_on = goes_on_after;
    }
    places.retain(|place| !place.text.is_empty() && !place.text.trim_start().starts_with("--"));
    places
}

fn line(file: &str, kind: &Kind, scenarios: &mut Vec<Scenario>, place: &Place) -> Result<(), String> {
    if let Some(title) = place.text.strip_prefix('#') {
        scenarios.push(begin(file, kind, title.trim(), place.line)?);
        return Ok(());
    }
    let scenario = scenarios.last_mut().ok_or("a scenario begins with `# ` and its title")?;
    let (said, arrow) = split_at_arrow(&place.text);
    if said.starts_with(char::is_whitespace) || said.is_empty() {
        return other(scenario, said.trim(), arrow, place);
    }
    let (first, rest) = said.split_once(char::is_whitespace).unwrap_or((said, ""));
    match first {
        "spec" | "limit" if !scenario.steps.is_empty() => {
            Err(format!("the {first} of the object stands before the first step"))
        }
        "spec" => spec(scenario, rest, arrow, place.line),
        "limit" => limit(scenario, rest.trim(), arrow.is_some()),
        _ if scenario.refused.is_some() => Err("nothing happens to an object that is not made".into()),
        _ => {
            let step = step(scenario, first, rest.trim(), arrow, place)?;
            scenario.steps.push(step);
            Ok(())
        }
    }
}

fn begin(file: &str, kind: &Kind, title: &str, line: usize) -> Result<Scenario, String> {
    if title.is_empty() {
        return Err("the title says what the scenario shows".into());
    }
    Ok(Scenario {
        file: file.to_owned(),
        title: title.to_owned(),
        line,
        kind: kind.clone(),
        limits: Vec::new(),
        spec: Template::read("", kind.spec())?,
        refused: None,
        steps: Vec::new(),
    })
}

fn spec(scenario: &mut Scenario, text: &str, arrow: Option<Arrow<'_>>, line: usize) -> Result<(), String> {
    scenario.spec = sent(text, scenario.kind.spec())?;
    scenario.refused = match arrow.map(|arrow| expected(&arrow, None)).transpose()? {
        None => None,
        Some(refused @ Expected { what: What::Refused(..), .. }) => Some((line, refused)),
        Some(_) => return Err("a spec is refused, or there is nothing to say of it".into()),
    };
    Ok(())
}

fn limit(scenario: &mut Scenario, text: &str, has_arrow: bool) -> Result<(), String> {
    let (name, value) = text.split_once(' ').ok_or("a limit has a name and a value")?;
    let value = value.trim().parse().map_err(|_| format!("{value:?} is no number"))?;
    if has_arrow {
        return Err("a limit is not answered".into());
    }
    scenario.limits.push((name.to_owned(), value));
    Ok(())
}

/// What comes of the last step for a caller that waited.
fn other(scenario: &mut Scenario, who: &str, arrow: Option<Arrow<'_>>, place: &Place) -> Result<(), String> {
    let caller = caller(who)?;
    let arrow = arrow.ok_or("an indented line is what a call that waited is answered: `    b -> ...`")?;
    let Some(call) = scenario.steps.iter().rposition(|step| step.begins_wait_of(&caller)) else {
        return Err(format!("no call of {caller} began to wait"));
    };
    let Action::Call(op, _) = &scenario.steps[call].action else {
        return Err(format!("what waits in the name of {caller} is no call"));
    };
    let answer = expected(&arrow, Some(op.response()))?;
    if matches!(answer.what, What::Waits | What::Nothing) {
        return Err("a call that goes on waiting is not mentioned".into());
    }
    let step = scenario.steps.last_mut().expect("there is one at least, in which it began to wait");
    step.others.push(Other { at: place.clone(), caller, answer });
    Ok(())
}

fn step(scenario: &Scenario, who: &str, text: &str, arrow: Option<Arrow<'_>>, place: &Place) -> Result<Step, String> {
    let caller = caller(who)?;
    let (verb, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let (action, response) = match (verb, rest.trim()) {
        (verb, request) if verb.starts_with(char::is_uppercase) => {
            let op = scenario.kind.ops().find(|op| op.name == verb).ok_or_else(|| no_op(&scenario.kind, verb))?;
            let (request, response) = (sent(request, op.request())?, op.response());
            (Action::Call(op, request), Some(response))
        }
        ("opens", spec) => (Action::Opens(sent(spec, scenario.kind.spec())?), None),
        ("withdraws", "") => (Action::Withdraws, waited(scenario, &caller)),
        ("loses", "patience") => (Action::LosesPatience, waited(scenario, &caller)),
        ("still", "waits") => (Action::StillWaits, None),
        ("hears", "") => (Action::Hears, None),
        ("misses", "") => (Action::Misses, None),
        ("closes", "") => (Action::Closes, None),
        ("dies", "") => (Action::Dies, None),
        _ => return Err(no_verb(text)),
    };
    let answer = answer(&action, arrow, response)?;
    if !caller.call.is_empty() && matches!(action, Action::Closes | Action::Dies) {
        return Err(format!("a session ends as a whole: write {}", caller.session));
    }
    Ok(Step { at: place.clone(), caller, action, answer, others: Vec::new() })
}

/// What is expected for the caller of a step, which must be said exactly where the action is answered.
fn answer(
    action: &Action,
    arrow: Option<Arrow<'_>>,
    response: Option<MessageDescriptor>,
) -> Result<Option<Expected>, String> {
    let is_answered = matches!(action, Action::Call(..) | Action::Opens(_) | Action::Withdraws | Action::LosesPatience);
    let answer = arrow.map(|arrow| expected(&arrow, response)).transpose()?;
    match (&answer, action) {
        (None, _) if is_answered => Err("what comes of it is to be said: `-> ...`".into()),
        (Some(_), _) if !is_answered => Err("this is not answered: what comes of it for others is indented".into()),
        (Some(Expected { what: What::Waits, .. }), Action::Call(op, _)) if !op.waits => {
            Err(format!("{op} never waits: its method has not the option `waits`"))
        }
        (Some(Expected { what: What::Waits, .. }), Action::Call(..) | Action::LosesPatience) => Ok(answer),
        (Some(Expected { what: What::Waits, .. }), _) => Err("only a call waits".into()),
        (Some(Expected { what: What::Nothing, .. }), Action::Withdraws | Action::LosesPatience) => Ok(answer),
        (Some(Expected { what: What::Nothing, .. }), _) => {
            Err("nothing comes only of withdrawing a call that is answered: an empty response is `done`".into())
        }
        _ => Ok(answer),
    }
}

/// The response that the call has which last began to wait under a name.
fn waited(scenario: &Scenario, caller: &Caller) -> Option<MessageDescriptor> {
    let mut steps = scenario.steps.iter().rev().filter(|step| step.caller == *caller);
    steps.find_map(|step| match &step.action {
        Action::Call(op, _) => Some(op.response()),
        _ => None,
    })
}

fn sent(text: &str, message: MessageDescriptor) -> Result<Template, String> {
    let template = Template::read(text, message)?;
    template.must_be_plain()?;
    Ok(template)
}

fn caller(text: &str) -> Result<Caller, String> {
    let (session, call) = text.split_once('/').unwrap_or((text, ""));
    let is_name = |name: &str| name.len() <= NAME_MAX && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if session.is_empty() || !is_name(session) || !is_name(call) || text.ends_with('/') {
        return Err(format!(
            "{text:?} is nobody: a session is called like `a`, its call like `a/first`, with at most {NAME_MAX} letters each"
        ));
    }
    Ok(Caller { session: session.to_owned(), call: call.to_owned() })
}

/// What stands right of an arrow.
struct Arrow<'a> {
    is_held: bool,
    right: &'a str,
}

/// Splits a line at its arrow, if it has one outside of quotes.
fn split_at_arrow(text: &str) -> (&str, Option<Arrow<'_>>) {
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        let rest = &text[at..];
        let is_held = rest.starts_with("~>");
        if is_held || rest.starts_with("->") {
            return (text[..at].trim_end(), Some(Arrow { is_held, right: rest[2..].trim() }));
        }
        at += if matches!(c, '"' | '\'') { template::quoted_len(rest) } else { c.len_utf8() };
    }
    (text, None)
}

/// What is expected. Without the type of a response, nothing can be in one.
fn expected(arrow: &Arrow<'_>, response: Option<MessageDescriptor>) -> Result<Expected, String> {
    let is_held = arrow.is_held;
    let what = match arrow.right {
        "" => return Err("what is expected? An empty response is `done`".into()),
        "waits" => What::Waits,
        "nothing" => What::Nothing,
        text => match text.strip_prefix("refused") {
            Some(why) if why.starts_with(' ') || why.is_empty() => refused(why.trim())?,
            _ => done(text, response)?,
        },
    };
    if is_held && !matches!(what, What::Done(..)) {
        return Err("only a response is held back with `~>`".into());
    }
    Ok(Expected { what, is_held, said: arrow.right.to_owned() })
}

fn refused(why: &str) -> Result<What, String> {
    let (name, about) = why.split_once(' ').unwrap_or((why, ""));
    let reason = Reason::from_str_name(&format!("REASON_{name}"))
        .ok_or_else(|| format!("there is no reason {name:?}: refusal.proto has them, here without REASON_"))?;
    let about = match about.trim() {
        "" => None,
        about => {
            let within = |quote| about.strip_prefix(quote).and_then(|about: &str| about.strip_suffix(quote));
            Some(
                within('"')
                    .or_else(|| within('\''))
                    .ok_or("a part of the refusal's message stands in quotes")?
                    .to_owned(),
            )
        }
    };
    Ok(What::Refused(reason, about))
}

fn done(text: &str, response: Option<MessageDescriptor>) -> Result<What, String> {
    let (text, index) = match text.rsplit_once('@') {
        Some((text, index)) if !index.contains('"') => {
            let index = index.trim();
            let (variable, len) = template::variable(index)?;
            if len != index.len() {
                return Err(format!("{:?} says nothing: after @ there is a variable", &index[len..]));
            }
            (text.trim(), Some(variable))
        }
        _ => (text, None),
    };
    let text = if text == "done" { "" } else { text };
    match response {
        Some(response) => Ok(What::Done(Some(Template::read(text, response)?), index)),
        None if text.is_empty() => Ok(What::Done(None, index)),
        None => Err(format!("{text:?} is no answer to this: it is `done` or `refused`")),
    }
}

fn no_op(kind: &Kind, name: &str) -> String {
    let ops: Vec<&str> = kind.ops().map(|op| op.name).collect();
    format!("{} has no op {name:?}, it has {}", kind.name(), ops.join(", "))
}

fn no_verb(text: &str) -> String {
    format!(
        "{text:?} is nothing that one does: there are the ops, which have a capital, and opens, withdraws, loses patience, \
         still waits, hears, misses, closes and dies"
    )
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.problem)
    }
}

impl std::error::Error for Unreadable {}
