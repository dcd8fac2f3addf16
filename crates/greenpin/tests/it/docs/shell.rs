//! Commands in `sh` blocks of pages.

/// Returns the lines of a script. A line that ends with a backslash includes the next one.
pub fn lines(script: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut open = String::new();
    for line in script.lines() {
        open += line;
        if line.ends_with('\\') {
            open.push('\n');
        } else {
            lines.push(std::mem::take(&mut open));
        }
    }
    assert!(open.is_empty(), "the last line continues: {open}");
    lines
}

/// Splits lines of a shell script into commands and words.
#[derive(Default)]
struct Splitter {
    commands: Vec<Vec<String>>,
    command: Vec<String>,
    word: Option<String>,
    /// The next word is the file of a redirection.
    is_redirected: bool,
}

impl Splitter {
    fn push(&mut self, sign: char) {
        self.word.get_or_insert_default().push(sign);
    }

    fn end_word(&mut self) {
        if let Some(word) = self.word.take()
            && !std::mem::take(&mut self.is_redirected)
        {
            self.command.push(word);
        }
    }

    fn end_command(&mut self) {
        self.end_word();
        if !self.command.is_empty() {
            self.commands.push(std::mem::take(&mut self.command));
        }
    }
}

/// Returns the commands of a line with their words, without comments, redirections and quotes.
pub fn commands(line: &str) -> Vec<Vec<String>> {
    let mut split = Splitter::default();
    let mut quote = None;
    let line = line.replace("\\\n", " ");
    for sign in line.chars() {
        match (quote, sign) {
            (Some(end), sign) if sign == end => quote = None,
            (Some(_), sign) => split.push(sign),
            (None, '\'' | '"') => {
                quote = Some(sign);
                split.word.get_or_insert_default();
            }
            (None, '#') if split.word.is_none() => break,
            (None, '|' | '&' | ';') => split.end_command(),
            (None, '>') => {
                split.end_word();
                split.is_redirected = true;
            }
            (None, sign) if sign.is_whitespace() => split.end_word(),
            (None, sign) => split.push(sign),
        }
    }
    assert!(quote.is_none(), "a quotation does not end: {line}");
    split.end_command();
    split.commands
}

/// Returns the arguments of a command that runs greenpin, also by cargo or sudo.
pub fn greenpin_arguments(command: &[String]) -> Option<&[String]> {
    let words: Vec<&str> = command.iter().map(String::as_str).collect();
    match words[..] {
        ["greenpin", ..] => command.get(1..),
        ["sudo", "-u", _, "greenpin", ..] => command.get(4..),
        ["cargo", "run", ..] => {
            let end = words.iter().position(|word| *word == "--")?;
            command.get(end + 1..)
        }
        _ => None,
    }
}

#[test]
fn commands_are_split_like_in_a_shell() {
    let line = "greenpin a 'b c' > file && greenpin d \\\n  \"e\" | jq .type # greenpin f";
    let expected = [
        &["greenpin", "a", "b c"][..],
        &["greenpin", "d", "e"],
        &["jq", ".type"],
    ];
    assert_eq!(commands(line), expected);
}
