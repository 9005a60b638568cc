//! A tournament: who comes first of many, of whom one changes at a time.
//!
//! ```text
//!                 1: b2                 Each inner node has the better one of the two below it, so that a change of
//!           2: b2       3: b4           one backend concerns its way to the top alone.
//!         b0    b2    b3    b4
//! ```

use std::cmp::Ordering;

/// What decides where a backend comes.
pub(super) trait Seat {
    /// Whether it takes part; otherwise it comes last.
    fn takes_part(&self) -> bool;

    /// Of two that take part, which one comes first.
    fn compare(&self, other: &Self) -> Ordering;
}

/// The seats of the backends, by their positions. Everything costs O(log n), and nothing allocates.
#[derive(Debug)]
pub(super) struct Tournament<S> {
    seats: Vec<S>,
    /// Of the nodes from 1 on, whose children are 2n and 2n + 1; the backends themselves are the nodes behind them.
    winners: Vec<u16>,
}

impl<S: Seat + Clone + Default> Tournament<S> {
    /// So many backends that are all alike.
    pub(super) fn new(backends: usize) -> Tournament<S> {
        let mut tournament = Tournament { seats: vec![S::default(); backends], winners: vec![0; backends] };
        (1..backends).rev().for_each(|node| tournament.play(node));
        tournament
    }

    /// The seat of a backend.
    pub(super) fn seat(&self, backend: u16) -> &S {
        &self.seats[usize::from(backend)]
    }

    /// Changes the seat of a backend: the nodes above it are decided anew.
    pub(super) fn change(&mut self, backend: u16, change: impl FnOnce(&mut S)) {
        change(&mut self.seats[usize::from(backend)]);
        let mut node = (self.seats.len() + usize::from(backend)) / 2;
        while node > 0 {
            self.play(node);
            node /= 2;
        }
    }

    /// Who comes first of those that take part and are not refused. Who is asked about may be asked about again.
    pub(super) fn first(&self, mut refused: impl FnMut(u16) -> bool) -> Option<u16> {
        if self.seats.is_empty() { None } else { self.first_below(1, &mut refused) }
    }

    fn first_below(&self, node: usize, refused: &mut impl FnMut(u16) -> bool) -> Option<u16> {
        let winner = self.winner(node);
        if !self.seat(winner).takes_part() {
            return None;
        }
        if !refused(winner) {
            return Some(winner);
        }
        if node >= self.seats.len() {
            return None;
        }
        let [one, other] = [2 * node, 2 * node + 1].map(|child| self.first_below(child, refused));
        one.zip(other).map_or(one.or(other), |(one, other)| Some(self.better(one, other)))
    }

    fn winner(&self, node: usize) -> u16 {
        // There are no more backends than positions.
        node.checked_sub(self.seats.len()).map_or_else(|| self.winners[node], |backend| backend as u16)
    }

    fn play(&mut self, node: usize) {
        self.winners[node] = self.better(self.winner(2 * node), self.winner(2 * node + 1));
    }

    /// Among equals, the one that stands first in the configuration.
    fn better(&self, one: u16, other: u16) -> u16 {
        let [seat, opponent] = [one, other].map(|backend| self.seat(backend));
        let order = match (seat.takes_part(), opponent.takes_part()) {
            (true, true) => seat.compare(opponent),
            (is_here, is_there) => is_there.cmp(&is_here),
        };
        if order.then(one.cmp(&other)).is_le() { one } else { other }
    }
}
