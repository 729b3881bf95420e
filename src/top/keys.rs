//! What keys ask for. Pure.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::screen::Key;

/// `None`: nothing.
pub(super) fn key(event: KeyEvent) -> Option<Key> {
    if event.kind == KeyEventKind::Release {
        return None;
    }
    if event.modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT) {
        let is_end = event.code == KeyCode::Char('c') && event.modifiers == KeyModifiers::CONTROL;
        return is_end.then_some(Key::Quit);
    }
    Some(match event.code {
        KeyCode::Char('q') | KeyCode::Esc => Key::Quit,
        KeyCode::Tab | KeyCode::Right => Key::Next,
        KeyCode::BackTab | KeyCode::Left => Key::Previous,
        KeyCode::Up | KeyCode::Char('k') => Key::Up,
        KeyCode::Down | KeyCode::Char('j') => Key::Down,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown | KeyCode::Char(' ') => Key::PageDown,
        KeyCode::Home => Key::First,
        KeyCode::End => Key::Last,
        KeyCode::Char('s') => Key::Sort,
        KeyCode::Char('p') => Key::Pause,
        KeyCode::Char('?') => Key::Help,
        KeyCode::Char(digit @ '1'..='9') => Key::Panel(usize::from(digit as u8 - b'1')),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_of_the_help_does_what_it_says() {
        for (code, asked) in [
            (KeyCode::Char('q'), Some(Key::Quit)),
            (KeyCode::Esc, Some(Key::Quit)),
            (KeyCode::Tab, Some(Key::Next)),
            (KeyCode::BackTab, Some(Key::Previous)),
            (KeyCode::Up, Some(Key::Up)),
            (KeyCode::PageDown, Some(Key::PageDown)),
            (KeyCode::Char('1'), Some(Key::Panel(0))),
            (KeyCode::Char('0'), None),
            (KeyCode::Char('s'), Some(Key::Sort)),
            (KeyCode::Char('p'), Some(Key::Pause)),
            (KeyCode::Char('?'), Some(Key::Help)),
            (KeyCode::Char('c'), None),
            (KeyCode::F(1), None),
        ] {
            assert_eq!(key(KeyEvent::new(code, KeyModifiers::NONE)), asked, "{code:?}");
        }
        let control = |char| KeyEvent::new(KeyCode::Char(char), KeyModifiers::CONTROL);
        assert_eq!((key(control('c')), key(control('q'))), (Some(Key::Quit), None));
        let release = KeyEvent {
            kind: KeyEventKind::Release,
            ..KeyEvent::new(KeyCode::Char('q'), KeyModifiers::NONE)
        };
        assert_eq!(key(release), None);
    }
}
