//! Options that are the fields of an API request. Names, ranges, defaults and help come from the
//! declaration of the request; the values are read by the same code as a body.

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use serde_json::{Map, Value};

use crate::http::middleware::field::{FieldSpec, OptionKind, RequestBody};
use crate::http::middleware::problem::FieldError;
use crate::http::middleware::validation::Fields;

/// The fields of request `R` as options. The body is not yet checked against the tenant's limits.
pub(super) struct RequestOptions<R> {
    /// The body of the request.
    pub(super) body: Map<String, Value>,
    request: std::marker::PhantomData<R>,
}

impl<R: RequestBody> Args for RequestOptions<R> {
    fn augment_args(command: Command) -> Command {
        R::fields()
            .iter()
            .fold(command, |command, field| command.arg(option(&**field)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

/// Builds the option of a field.
fn option(field: &dyn FieldSpec) -> Arg {
    let name = field.name();
    let mut help = field.doc().replace('`', "");
    if let Some(default) = field.default().filter(|default| *default != "null")
        && field.option() != OptionKind::Switch
    {
        help = format!("{help} [default: {default}]");
    }
    let arg = Arg::new(name).help(help).required(field.is_required());
    let arg = match field.argument() {
        Some(argument) => return arg.value_name(argument),
        None => arg.long(dashed(name)),
    };
    match field.option() {
        OptionKind::Switch => arg.action(ArgAction::SetTrue),
        OptionKind::Integer => arg.value_name("N").value_parser(clap::value_parser!(i64)),
        OptionKind::List => arg
            .value_name("VALUE,…")
            .value_delimiter(',')
            .action(ArgAction::Append),
        OptionKind::Text => arg.value_name("TEXT"),
    }
}

fn dashed(name: &str) -> String {
    name.replace('_', "-")
}

impl<R: RequestBody> FromArgMatches for RequestOptions<R> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut body = Map::new();
        for field in R::fields() {
            if let Some(value) = value(&*field, matches) {
                body.insert(field.name().to_owned(), value);
            }
        }
        let mut fields = Fields::new(body.clone());
        R::read(&mut fields);
        let mut faults = fields.into_faults().err().unwrap_or_default();
        // A value against a rule may be right for another tenant: the command reports it, and exits with 1.
        faults.retain(|fault| fault.code.status() == 400);
        if !faults.is_empty() {
            let message = format!("{}\n", describe(&faults));
            return Err(clap::Error::raw(ErrorKind::ValueValidation, message));
        }
        Ok(Self {
            body,
            request: std::marker::PhantomData,
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Returns the JSON value of a field; `None`: the option is absent.
fn value(field: &dyn FieldSpec, matches: &ArgMatches) -> Option<Value> {
    let name = field.name();
    match field.option() {
        OptionKind::Switch => matches.get_flag(name).then_some(Value::Bool(true)),
        OptionKind::Integer => matches.get_one::<i64>(name).copied().map(Value::from),
        OptionKind::List => matches
            .get_many::<String>(name)
            .map(|values| values.cloned().collect()),
        OptionKind::Text => matches.get_one::<String>(name).cloned().map(Value::from),
    }
}

/// Describes faults by the options that have them, one a line.
pub(super) fn describe(faults: &[FieldError]) -> String {
    let lines = faults
        .iter()
        .map(|fault| format!("--{} {}", dashed(&fault.field), fault.message));
    lines.collect::<Vec<_>>().join("\n")
}
