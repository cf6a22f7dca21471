//! What the live view shows: the board, and where in it the person is. Pure; drawing is another's affair.

use super::{
    board::{Board, Track},
    feed::{Scope, Update},
    key::Action,
};

#[derive(Debug)]
pub(super) struct Model {
    /// The server, as the arguments name it.
    pub(super) address: String,
    live: Board,
    /// What is shown while the display is paused. The other one goes on.
    frozen: Option<Board>,
    /// The queue that Back does not leave: the only one that is watched.
    home: Option<String>,
    /// The queue that is looked into; None is the table of all.
    place: Option<String>,
    selected: Option<String>,
    over: bool,
}

impl Model {
    pub(super) fn new(address: &str, scope: &Scope) -> Model {
        let home = match scope {
            Scope::One(queue) => Some(queue.clone()),
            Scope::Many(_) => None,
        };
        Model {
            address: address.to_owned(),
            live: Board::default(),
            frozen: None,
            place: home.clone(),
            home,
            selected: None,
            over: false,
        }
    }

    /// What is to be shown.
    pub(super) fn board(&self) -> &Board {
        self.frozen.as_ref().unwrap_or(&self.live)
    }

    pub(super) fn is_paused(&self) -> bool {
        self.frozen.is_some()
    }

    /// Whether the person has seen enough.
    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    /// The queue that is looked into, and what is known of it.
    pub(super) fn opened(&self) -> Option<(&str, Option<&Track>)> {
        self.place.as_ref().map(|queue| (queue.as_str(), self.board().queues().get(queue)))
    }

    /// Whether there are other queues to go back to.
    pub(super) fn can_go_back(&self) -> bool {
        self.place != self.home
    }

    /// The row of the table that is selected. When its queue has gone it is the one that came after it.
    pub(super) fn selected_row(&self) -> usize {
        let queues = self.board().queues();
        let row = self
            .selected
            .as_ref()
            .map_or(0, |selected| queues.keys().take_while(|name| *name < selected).count());
        row.min(queues.len().saturating_sub(1))
    }

    pub(super) fn update(&mut self, update: Update) {
        self.live.update(update);
    }

    pub(super) fn lose(&mut self, reason: &str) {
        self.live.lose(reason);
    }

    /// A second has passed.
    pub(super) fn tick(&mut self) {
        self.live.tick();
    }

    pub(super) fn press(&mut self, action: Action) {
        match action {
            Action::Quit => self.over = true,
            Action::Pause => {
                self.frozen = match self.frozen.take() {
                    Some(_) => None,
                    None => Some(self.live.clone()),
                }
            }
            Action::Move(rows) if self.place.is_none() => {
                let row = self.selected_row().saturating_add_signed(rows);
                let row = row.min(self.board().queues().len().saturating_sub(1));
                self.selected = self.board().queues().keys().nth(row).cloned();
            }
            Action::Open if self.place.is_none() => {
                self.selected = self.board().queues().keys().nth(self.selected_row()).cloned();
                self.place.clone_from(&self.selected);
            }
            Action::Back => self.place.clone_from(&self.home),
            Action::Move(_) | Action::Open => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::QueueStatus;

    fn update(queues: &[&str]) -> Update {
        let status = |queue: &&str| QueueStatus { queue: (*queue).to_owned(), ..Default::default() };
        Update { statuses: queues.iter().map(status).collect(), ..Update::default() }
    }

    fn many() -> Model {
        let mut model = Model::new("http://h:1", &Scope::new(None));
        model.update(update(&["a", "b", "c"]));
        model
    }

    fn place(model: &Model) -> Option<&str> {
        model.opened().map(|(queue, _)| queue)
    }

    #[test]
    fn selection_stays_within_the_rows_and_with_its_queue() {
        let mut model = many();
        model.press(Action::Move(-1));
        assert_eq!(model.selected_row(), 0);
        model.press(Action::Move(1));
        assert_eq!(model.selected_row(), 1);
        model.update(update(&["aa"]));
        assert_eq!(model.selected_row(), 2, "still on b");
        model.update(Update { deleted_queues: vec!["b".to_owned()], ..Update::default() });
        assert_eq!(model.selected_row(), 2, "on c, which came after it");
        model.press(Action::Move(isize::MAX));
        assert_eq!(model.selected_row(), 2);
        model.press(Action::Move(isize::MIN));
        assert_eq!(model.selected_row(), 0);
    }

    #[test]
    fn one_goes_into_a_queue_and_back() {
        let mut model = many();
        model.press(Action::Move(1));
        model.press(Action::Open);
        assert!(model.can_go_back());
        assert_eq!(place(&model), Some("b"));
        model.press(Action::Move(1));
        model.press(Action::Back);
        assert_eq!((place(&model), model.selected_row()), (None, 1));
    }

    #[test]
    fn the_only_queue_is_not_left() {
        let mut model = Model::new("http://h:1", &Scope::new(Some("a".to_owned())));
        model.press(Action::Back);
        assert!(!model.can_go_back());
        assert_eq!(place(&model), Some("a"));
    }

    #[test]
    fn nothing_to_open_opens_nothing() {
        let mut model = Model::new("http://h:1", &Scope::new(None));
        model.press(Action::Move(1));
        model.press(Action::Open);
        assert_eq!(place(&model), None);
    }

    #[test]
    fn paused_display_stands_still_and_catches_up() {
        let mut model = many();
        model.press(Action::Pause);
        model.update(update(&["d"]));
        assert_eq!((model.is_paused(), model.board().queues().len()), (true, 3));
        model.press(Action::Pause);
        assert_eq!((model.is_paused(), model.board().queues().len()), (false, 4));
    }
}
