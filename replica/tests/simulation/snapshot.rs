//! Whole states on their way from one member to another, chunk by chunk.

use revd_raft::{Input, NodeId, SnapshotOutcome, SnapshotRequest};
use revd_replica::{Incoming, Outgoing};
use revd_sim::{Checked, Life};

use crate::event::{Event, SECOND};
use crate::member::{id, place};
use crate::world::{World, note};

/// Bytes of a chunk, about.
const CHUNK: usize = 8 << 10;

/// A snapshot under way, between two lives.
pub(crate) struct Transfer {
    number: u64,
    from: Life,
    to: Life,
    outgoing: Outgoing,
    incoming: Incoming,
}

impl World {
    /// A leader lacks what members need.
    pub(crate) fn snapshots_wanted(&mut self, from: usize, wanted: &[SnapshotRequest]) {
        for request in wanted {
            let transfer = self.begin_transfer(from, request);
            match transfer {
                Some(transfer) => {
                    note!(self, "{}: sends a snapshot to {}", from + 1, request.to);
                    let number = transfer.number;
                    self.transfers.push(transfer);
                    self.queue.push(self.time + 1, Event::Chunk(number));
                }
                None => self.snapshot_failed(from, request.to),
            }
        }
    }

    fn begin_transfer(&mut self, from: usize, request: &SnapshotRequest) -> Option<Transfer> {
        let to = place(request.to);
        let receiver = self.members.get(to).filter(|member| member.is_up())?;
        let incoming = Incoming::begin(receiver.driver().machine.file()).ok()?;
        let to = receiver.life;
        let driver = self.members[from].driver_mut();
        let outgoing = driver.machine.export(request).ok()??;
        driver.consensus.sending(&outgoing);
        self.totals.snapshots_sent += 1;
        let number = self.totals.snapshots_sent;
        Some(Transfer { number, from: self.members[from].life, to, outgoing, incoming })
    }

    fn snapshot_failed(&mut self, from: usize, to: NodeId) {
        self.totals.snapshots_failed += 1;
        if let Some(driver) = &mut self.members[from].driver {
            driver.consensus.sent(to, SnapshotOutcome::Failed);
        }
    }

    fn lives(&self, life: Life) -> bool {
        let member = &self.members[life.member];
        member.is_up() && member.life == life
    }

    /// The next chunk of a snapshot arrives, or does not.
    pub(crate) fn chunk(&mut self, number: u64) -> Checked {
        let at = self.transfers.iter().position(|transfer| transfer.number == number);
        let Some(mut transfer) = at.map(|at| self.transfers.swap_remove(at)) else {
            return Ok(());
        };
        let (from, to) = (transfer.from.member, transfer.to.member);
        let way = (from, to);
        let [arrival, _] = self.network.arrivals(&mut self.chance, self.time, way);
        let is_cut = arrival.is_none() && !self.network.reaches(from, to);
        if !self.lives(transfer.from) || !self.lives(transfer.to) || is_cut {
            if self.lives(transfer.from) {
                self.snapshot_failed(from, id(to));
            }
            return Ok(());
        }
        let paused = self.members[from].paused_until.max(self.members[to].paused_until);
        let Some(arrival) = arrival.filter(|_| paused <= self.time) else {
            // Lost on the way, or nobody is there to take it: it is sent again.
            let time = paused.max(self.time + SECOND / 10);
            self.transfers.push(transfer);
            self.queue.push(time, Event::Chunk(number));
            return Ok(());
        };
        let pushed = match transfer.outgoing.next_chunk(CHUNK) {
            Ok(Some(chunk)) => transfer.incoming.push(&chunk).is_ok(),
            Ok(None) => return self.arrived(transfer),
            Err(_) => false,
        };
        if pushed {
            self.transfers.push(transfer);
            self.queue.push(arrival, Event::Chunk(number));
            return Ok(());
        }
        drop(transfer);
        self.snapshot_failed(from, id(to));
        // What the receiver's disk refused may have been its end.
        self.after(to, Ok(()))
    }

    /// All of it is there: the receiver makes it durable, and its consensus hears of it.
    fn arrived(&mut self, transfer: Transfer) -> Checked {
        let (from, to) = (transfer.from.member, transfer.to.member);
        let (term, position) = (transfer.outgoing.term(), transfer.outgoing.position());
        let Ok(received) = transfer.incoming.finish() else {
            self.snapshot_failed(from, id(to));
            return self.after(to, Ok(()));
        };
        let message = received.message(id(from), id(to), term);
        let driver = self.members[to].driver_mut();
        driver.received = Some(received);
        driver.input(Input::Message(message));
        if driver.consensus.status().installing.is_none() {
            // It has what is in it by now.
            driver.received = None;
        }
        self.turn_later(to);
        let outcome = SnapshotOutcome::Delivered(position);
        self.members[from].driver_mut().consensus.sent(id(to), outcome);
        self.turn_later(from);
        self.after(to, Ok(()))
    }
}
