//! Declarations of request fields: name, kind, range, default and documentation. The body reader, the OpenAPI
//! schema and the command-line options follow from each declaration.

use std::marker::PhantomData;

use call::PhoneNumber;
use serde_json::{Map, Value, json};

use crate::destinations::{MAX_PREFIXES, NumberPrefix};
use crate::store::GuessOdds;

use super::validation::{FieldValue, Fields};

/// One field of a request.
#[derive(Clone, Copy)]
pub(crate) struct Field<K> {
    /// Name in JSON.
    pub(crate) name: &'static str,
    /// Its documentation: one or more sentences.
    pub(crate) doc: &'static str,
    /// Kind of the value: its reader and schema.
    pub(crate) kind: K,
    /// `true` if requests without the field are rejected.
    pub(crate) is_required: bool,
    default: Option<&'static str>,
    example: Option<&'static str>,
    argument: Option<&'static str>,
}

/// Kind of a field's value.
pub(crate) trait FieldKind {
    /// Type of a valid value.
    type Value;

    /// Reads a field that is present. Records a fault and returns `None` for an invalid value.
    fn read(&self, fields: &mut Fields, name: &'static str) -> FieldValue<Self::Value>;

    /// Returns the schema of a value other than `null`.
    fn schema(&self) -> Value;

    /// Returns the form of the command-line option.
    fn option(&self) -> OptionKind {
        OptionKind::Text
    }
}

/// Form of a command-line option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OptionKind {
    /// A switch without a value.
    Switch,
    /// Integer.
    Integer,
    /// Values separated by commas.
    List,
    /// Text.
    Text,
}

/// Field without the type of its value, for the schema and the command line.
pub(crate) trait FieldSpec {
    /// Returns the name in JSON.
    fn name(&self) -> &'static str;
    /// Returns the documentation.
    fn doc(&self) -> &'static str;
    /// Returns `true` if requests without the field are rejected.
    fn is_required(&self) -> bool;
    /// Returns the default as JSON text.
    fn default(&self) -> Option<&'static str>;
    /// Returns the form of the command-line option.
    fn option(&self) -> OptionKind;
    /// Returns the name of the command-line argument, for a field without an option.
    fn argument(&self) -> Option<&'static str>;
    /// Returns the schema, with documentation, default and example.
    fn schema(&self) -> Value;
}

impl<K> Field<K> {
    /// Declares an optional field.
    pub(crate) const fn new(name: &'static str, kind: K, doc: &'static str) -> Self {
        Self {
            name,
            doc,
            kind,
            is_required: false,
            default: None,
            example: None,
            argument: None,
        }
    }

    /// Makes the field required.
    pub(crate) const fn required(mut self) -> Self {
        self.is_required = true;
        self
    }

    /// Sets the default, as JSON text.
    pub(crate) const fn with_default(mut self, json: &'static str) -> Self {
        self.default = Some(json);
        self
    }

    /// Sets an example, as JSON text.
    pub(crate) const fn with_example(mut self, json: &'static str) -> Self {
        self.example = Some(json);
        self
    }

    /// Makes the field a positional argument of the command line. `name` is its placeholder in the help.
    pub(crate) const fn on_command_line_as(mut self, name: &'static str) -> Self {
        self.argument = Some(name);
        self
    }

    /// Replaces the documentation.
    pub(crate) const fn with_doc(mut self, doc: &'static str) -> Self {
        self.doc = doc;
        self
    }

    /// Removes the default and makes the field optional, for update requests.
    pub(crate) const fn for_change(mut self) -> Self {
        self.default = None;
        self.is_required = false;
        self
    }
}

impl<K: Copy> Field<K> {
    /// Makes `null` clear the stored value.
    pub(crate) const fn clearable(self) -> Field<Clearable<K>> {
        Field {
            name: self.name,
            doc: self.doc,
            kind: Clearable(self.kind),
            is_required: false,
            default: self.default,
            example: self.example,
            argument: self.argument,
        }
    }
}

impl<K: FieldKind> Field<K> {
    /// Reads the field from a request. Returns `None` if the field is absent or invalid; an invalid field records
    /// a fault.
    pub(crate) fn read(&self, fields: &mut Fields) -> FieldValue<K::Value> {
        if self.is_required {
            fields.required(self.name, |fields, name| self.kind.read(fields, name))
        } else {
            self.kind.read(fields, self.name)
        }
    }
}

impl<K: FieldKind> FieldSpec for Field<K> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn doc(&self) -> &'static str {
        self.doc
    }

    fn is_required(&self) -> bool {
        self.is_required
    }

    fn default(&self) -> Option<&'static str> {
        self.default
    }

    fn option(&self) -> OptionKind {
        self.kind.option()
    }

    fn argument(&self) -> Option<&'static str> {
        self.argument
    }

    fn schema(&self) -> Value {
        let mut schema = self.kind.schema();
        if !self.is_required {
            make_nullable(&mut schema);
        }
        let entries = [
            ("default", self.default.map(parse)),
            ("description", Some(self.doc.into())),
            (
                "examples",
                self.example.map(|example| json!([parse(example)])),
            ),
        ];
        if let Some(schema) = schema.as_object_mut() {
            for (key, value) in entries {
                if let Some(value) = value {
                    schema.insert(key.into(), value);
                }
            }
        }
        schema
    }
}

/// Parses JSON from a declaration. A test reads every schema, so malformed JSON fails the build.
fn parse(json: &str) -> Value {
    serde_json::from_str(json).unwrap_or_default()
}

/// Extends a schema to accept `null`.
fn make_nullable(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else {
        return;
    };
    if let Some(reference) = object.shift_remove("$ref") {
        object.insert(
            "oneOf".into(),
            json!([{ "$ref": reference }, { "type": "null" }]),
        );
    } else if let Some(choices) = object.get_mut("oneOf").and_then(Value::as_array_mut) {
        choices.push(json!({ "type": "null" }));
    } else if let Some(kind) = object.get_mut("type") {
        *kind = json!([kind.take(), "null"]);
    }
    if let Some(words) = object.get_mut("enum").and_then(Value::as_array_mut) {
        words.push(Value::Null);
    }
}

/// Kind with a stored value that `null` clears. `Some(None)` is the value of `null`.
#[derive(Clone, Copy)]
pub(crate) struct Clearable<K>(K);

impl<K: FieldKind> FieldKind for Clearable<K> {
    type Value = Option<K::Value>;

    fn read(&self, fields: &mut Fields, name: &'static str) -> FieldValue<Self::Value> {
        if fields.is_null(name) {
            fields.remove(name);
            return Some(None);
        }
        self.0.read(fields, name).map(Some)
    }

    fn schema(&self) -> Value {
        self.0.schema()
    }

    fn option(&self) -> OptionKind {
        self.0.option()
    }
}

/// Telephone number in E.164 form.
#[derive(Clone, Copy)]
pub(crate) struct Number;

impl FieldKind for Number {
    type Value = PhoneNumber;

    fn read(&self, fields: &mut Fields, name: &'static str) -> FieldValue<PhoneNumber> {
        fields.number(name)
    }

    fn schema(&self) -> Value {
        json!({ "$ref": "#/components/schemas/E164" })
    }
}

/// List of distinct E.164 numbers. A single string is accepted as a list of one.
#[derive(Clone, Copy)]
pub(crate) struct Numbers {
    /// Minimum number of items.
    pub(crate) min: usize,
    /// Maximum number of items.
    pub(crate) max: usize,
}

impl FieldKind for Numbers {
    type Value = Vec<PhoneNumber>;

    fn read(&self, fields: &mut Fields, name: &'static str) -> FieldValue<Vec<PhoneNumber>> {
        fields.numbers(name, self.min, self.max)
    }

    fn schema(&self) -> Value {
        json!({
            "oneOf": [
                {
                    "type": "array",
                    "items": { "$ref": "#/components/schemas/E164" },
                    "minItems": self.min,
                    "maxItems": self.max,
                    "uniqueItems": true,
                },
                { "$ref": "#/components/schemas/E164" },
            ],
        })
    }

    fn option(&self) -> OptionKind {
        OptionKind::List
    }
}

/// List of distinct prefixes of E.164 numbers.
#[derive(Clone, Copy)]
pub(crate) struct Prefixes;

impl FieldKind for Prefixes {
    type Value = Vec<NumberPrefix>;

    fn read(&self, fields: &mut Fields, name: &'static str) -> FieldValue<Vec<NumberPrefix>> {
        fields.prefixes(name)
    }

    fn schema(&self) -> Value {
        json!({
            "type": "array",
            "items": { "$ref": "#/components/schemas/NumberPrefix" },
            "maxItems": MAX_PREFIXES,
            "uniqueItems": true,
        })
    }

    fn option(&self) -> OptionKind {
        OptionKind::List
    }
}

/// Integer in an inclusive range. [`Fields::narrow`] can narrow the range for one request.
#[derive(Clone, Copy)]
pub(crate) struct Integer {
    /// Minimum.
    pub(crate) min: u32,
    /// Maximum.
    pub(crate) max: u32,
}

impl FieldKind for Integer {
    type Value = u32;

    fn read(&self, fields: &mut Fields, name: &'static str) -> FieldValue<u32> {
        fields.integer(name, self.min, self.max)
    }

    fn schema(&self) -> Value {
        let mut schema = json!({ "type": "integer", "minimum": self.min, "maximum": self.max });
        if self.max == u32::MAX
            && let Some(schema) = schema.as_object_mut()
        {
            schema.shift_remove("maximum");
        }
        schema
    }

    fn option(&self) -> OptionKind {
        OptionKind::Integer
    }
}

/// Integer of up to 255; otherwise like [`Integer`].
#[derive(Clone, Copy)]
pub(crate) struct SmallInteger {
    /// Minimum.
    pub(crate) min: u8,
    /// Maximum.
    pub(crate) max: u8,
}

impl FieldKind for SmallInteger {
    type Value = u8;

    fn read(&self, fields: &mut Fields, name: &'static str) -> FieldValue<u8> {
        fields
            .integer(name, self.min.into(), self.max.into())
            .and_then(|value| u8::try_from(value).ok())
    }

    fn schema(&self) -> Value {
        json!({ "type": "integer", "minimum": self.min, "maximum": self.max })
    }

    fn option(&self) -> OptionKind {
        OptionKind::Integer
    }
}

/// `true` or `false`.
#[derive(Clone, Copy)]
pub(crate) struct Boolean;

impl FieldKind for Boolean {
    type Value = bool;

    fn read(&self, fields: &mut Fields, name: &'static str) -> FieldValue<bool> {
        fields.boolean(name)
    }

    fn schema(&self) -> Value {
        json!({ "type": "boolean" })
    }

    fn option(&self) -> OptionKind {
        OptionKind::Switch
    }
}

/// Text without U+0000, limited in Unicode characters.
#[derive(Clone, Copy)]
pub(crate) struct ShortText {
    /// Maximum length, in characters.
    pub(crate) max: usize,
}

impl FieldKind for ShortText {
    type Value = String;

    fn read(&self, fields: &mut Fields, name: &'static str) -> FieldValue<String> {
        fields.short_text(name, self.max)
    }

    fn schema(&self) -> Value {
        json!({ "type": "string", "maxLength": self.max, "pattern": "^[^\\u0000]*$" })
    }
}

/// Text with a custom parser.
pub(crate) struct Parsed<T> {
    /// Parser. Returns `None` for invalid text.
    pub(crate) parse: fn(&str) -> Option<T>,
    /// Rule in the error message.
    pub(crate) rule: &'static str,
    /// Schema, as JSON text.
    pub(crate) schema: &'static str,
}

impl<T> Clone for Parsed<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Parsed<T> {}

impl<T> FieldKind for Parsed<T> {
    type Value = T;

    fn read(&self, fields: &mut Fields, name: &'static str) -> FieldValue<T> {
        fields.parsed(name, self.parse, self.rule)
    }

    fn schema(&self) -> Value {
        parse(self.schema)
    }
}

/// Probability above 0 and at most 1.
#[derive(Clone, Copy)]
pub(crate) struct Odds;

impl FieldKind for Odds {
    type Value = GuessOdds;

    fn read(&self, fields: &mut Fields, name: &'static str) -> FieldValue<GuessOdds> {
        fields.odds(name)
    }

    fn schema(&self) -> Value {
        json!({ "type": "number", "exclusiveMinimum": 0, "maximum": 1 })
    }
}

/// Enumeration of fixed strings, each with its value.
pub(crate) struct Keyword<T: 'static> {
    /// Strings and their values.
    pub(crate) words: &'static [(&'static str, T)],
    /// Name of the schema with the strings.
    pub(crate) schema: &'static str,
}

impl<T: Copy> Clone for Keyword<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: Copy> Copy for Keyword<T> {}

impl<T: Copy> FieldKind for Keyword<T> {
    type Value = T;

    fn read(&self, fields: &mut Fields, name: &'static str) -> FieldValue<T> {
        fields.word(name, self.words)
    }

    fn schema(&self) -> Value {
        json!({ "$ref": format!("#/components/schemas/{}", self.schema) })
    }
}

/// Object with its own fields.
pub(crate) struct Object<R>(PhantomData<R>);

impl<R> Object<R> {
    /// Declares an object with the fields of `R`.
    pub(crate) const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<R> Clone for Object<R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R> Copy for Object<R> {}

impl<R: RequestBody> FieldKind for Object<R> {
    type Value = R;

    fn read(&self, fields: &mut Fields, name: &'static str) -> FieldValue<R> {
        fields.nested(name, R::read)
    }

    fn schema(&self) -> Value {
        let mut schema = R::schema();
        if let Some(schema) = schema.as_object_mut() {
            schema.insert("title".into(), R::NAME.into());
        }
        schema
    }
}

/// Request body or nested object, read field by field to report all faults together.
pub(crate) trait RequestBody: Sized {
    /// Name of the schema.
    const NAME: &'static str;

    /// Reads every field. Records faults in `fields`.
    fn read(fields: &mut Fields) -> Self;

    /// Returns the fields in order of declaration.
    fn fields() -> Vec<Box<dyn FieldSpec>>;

    /// Returns the schema.
    fn schema() -> Value;
}

/// Returns the name and the schema of a body.
pub(crate) fn schema_of<R: RequestBody>() -> (&'static str, Value) {
    (R::NAME, R::schema())
}

/// Builds the schema of an object from its fields.
pub(crate) fn object_schema(
    doc: &str,
    fields: &[Box<dyn FieldSpec>],
    example: Option<&str>,
) -> Value {
    let required: Vec<&str> = fields
        .iter()
        .filter(|field| field.is_required())
        .map(|field| field.name())
        .collect();
    let properties: Map<String, Value> = fields
        .iter()
        .map(|field| (field.name().to_owned(), field.schema()))
        .collect();
    let mut schema = Map::new();
    schema.insert("type".into(), "object".into());
    schema.insert("description".into(), doc.trim().into());
    if !required.is_empty() {
        schema.insert("required".into(), required.into());
    }
    schema.insert("additionalProperties".into(), false.into());
    schema.insert("properties".into(), properties.into());
    if let Some(example) = example {
        schema.insert("examples".into(), json!([parse(example)]));
    }
    schema.into()
}

/// Declares a request body: a struct with the values, its reader and its schema.
macro_rules! request_body {
    (
        $(#[doc = $doc:literal])*
        $name:ident {
            $($field:ident: $kind:ty = $declaration:expr,)*
            $(..$part:ident: $part_type:ty,)?
        }
        $(example $example:literal)?
    ) => {
        $(#[doc = $doc])*
        #[allow(dead_code, reason = "a request may take a field and ignore it")]
        pub(crate) struct $name {
            $(pub(crate) $field: Option<<$kind as $crate::http::middleware::field::FieldKind>::Value>,)*
            $(pub(crate) $part: $part_type,)?
        }

        impl $crate::http::middleware::field::RequestBody for $name {
            const NAME: &'static str = stringify!($name);

            fn read(fields: &mut $crate::http::middleware::validation::Fields) -> Self {
                Self {
                    $($field: $declaration.read(fields),)*
                    $($part: <$part_type>::read(fields),)?
                }
            }

            fn fields() -> Vec<Box<dyn $crate::http::middleware::field::FieldSpec>> {
                #[allow(unused_mut)]
                let mut all: Vec<Box<dyn $crate::http::middleware::field::FieldSpec>> =
                    vec![$(Box::new($declaration)),*];
                $(all.extend(<$part_type>::fields());)?
                all
            }

            fn schema() -> serde_json::Value {
                #[allow(unused_mut, unused_assignments)]
                let mut example = None;
                $(example = Some($example);)?
                $crate::http::middleware::field::object_schema(
                    concat!($($doc),*),
                    &<Self as $crate::http::middleware::field::RequestBody>::fields(),
                    example,
                )
            }
        }
    };
}
pub(crate) use request_body;
