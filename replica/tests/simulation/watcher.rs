//! Clients that watch: from now or from an old revision, fast or slow, and that go on at another
//! member when theirs is gone. What they are told is compared with the model.
//!
//! The events must come in order, each once, all of a revision together and none left out; a mark
//! of progress says that nothing up to it is still to come; and only a compaction that has passed
//! what a watch still needs may end it.

use std::task::{Poll, Waker};

use bytes::Bytes;
use prost::Message;
use revd_api::mvccpb;
use revd_mvcc::{KeyValue, NO_WATCHER, Watch, WatchOptions, WatchResponse, WatchStream};
use revd_sim::{Chance, Checked, Life, Time, ensure};

use crate::event::{Event, MS, SECOND};
use crate::oracle::Model;
use crate::oracle::done::record;
use crate::plan::Plan;
use crate::totals::Totals;
use crate::world::{World, by};

/// How often a stream is looked at in a row once everything is healed.
const HEALED_TAKES: usize = 50;

/// A client with one stream of watches.
pub(crate) struct Watcher {
    targets: Vec<Target>,
    stream: Option<(Life, WatchStream)>,
    options: WatchOptions,
    /// It looks at its stream so often, and reads at most so many responses then.
    pace: Time,
    takes: usize,
}

/// One watch: what it wants, and how far it has come.
struct Target {
    key: Bytes,
    end: Bytes,
    prev_kv: bool,
    fragment: bool,
    no_put: bool,
    no_delete: bool,
    /// The first revision that it has not been told of; `None` until a watch from now on is there.
    next: Option<i64>,
    /// The beginning of a response that comes in pieces.
    parts: Vec<Bytes>,
}

impl Watcher {
    pub(crate) fn new(plan: &Plan, chance: &mut Chance) -> Watcher {
        let targets = (0..chance.between(1, 3)).map(|_| Target::new(plan, chance)).collect();
        let tiny = chance.permille(400);
        let mut options = WatchOptions::default();
        if tiny {
            options.queue_responses = chance.between(1, 4) as usize;
            options.queue_bytes = 4_000;
            options.chunk_revisions = chance.between(1, 20) as usize;
            options.chunk_bytes = 3_000;
            options.chunk_records = chance.between(1, 20) as usize;
            options.fragment_bytes = 1_000;
        }
        let pace = chance.pick(&[10 * MS, 100 * MS, SECOND, 3 * SECOND]);
        let takes = chance.pick(&[3, 1_000]);
        Watcher { targets, stream: None, options, pace, takes }
    }

    /// Whether all watches have been told of everything up to a revision.
    pub(crate) fn has_seen(&self, revision: i64) -> bool {
        self.targets.iter().all(|target| target.next.is_some_and(|next| next > revision))
    }

    /// Where it listens, and how far its watches have come.
    pub(crate) fn standing(&self) -> (Option<usize>, Vec<Option<i64>>) {
        let member = self.stream.as_ref().map(|(life, _)| life.member + 1);
        (member, self.targets.iter().map(|target| target.next).collect())
    }

    /// Opens a stream at a member, and asks for all watches again from where they are.
    fn connect(&mut self, life: Life, stream: WatchStream) {
        for (number, target) in self.targets.iter_mut().enumerate() {
            target.parts.clear();
            stream.create(Watch {
                key: target.key.clone(),
                range_end: target.end.clone(),
                start_revision: target.next.unwrap_or(0),
                watch_id: number as i64 + 1,
                prev_kv: target.prev_kv,
                fragment: target.fragment,
                progress_notify: true,
                no_put: target.no_put,
                no_delete: target.no_delete,
            });
        }
        self.stream = Some((life, stream));
    }

    /// Takes one response. True if the stream is of no more use.
    fn take(
        &mut self,
        response: WatchResponse,
        model: &Model,
        totals: &mut Totals,
    ) -> Checked<bool> {
        ensure!(
            response.revision <= model.revision,
            "a watch is told of revision {}, committed is {}",
            response.revision,
            model.revision
        );
        if response.watch_id == NO_WATCHER {
            ensure!(!response.created, "a watch is refused: {}", response.cancel_reason);
            totals.watch_progress += 1;
            for target in &mut self.targets {
                target.progress(response.revision, model)?;
            }
            return Ok(false);
        }
        let target = &mut self.targets[response.watch_id as usize - 1];
        if response.created {
            target.next.get_or_insert(response.revision + 1);
            return Ok(false);
        }
        if response.canceled {
            totals.watch_compacted += 1;
            target.compacted(response.compact_revision, model)?;
            return Ok(true);
        }
        if response.events.is_empty() {
            totals.watch_progress += 1;
            target.progress(response.revision, model)?;
            return Ok(false);
        }
        totals.watch_events += response.events.len() as u64;
        target.parts.extend(response.events);
        if !response.fragment {
            target.events(response.revision, model)?;
        }
        Ok(false)
    }
}

impl Target {
    fn new(plan: &Plan, chance: &mut Chance) -> Target {
        let key = |chance: &mut Chance| Bytes::from(format!("key {:02}", chance.below(plan.keys)));
        let (key, end) = match chance.below(3) {
            0 => (key(chance), Bytes::new()),
            1 => (Bytes::from("key"), key(chance)),
            _ => ("\0".into(), "\0".into()),
        };
        let end = if key == "key" && end <= key { "\0".into() } else { end };
        let filter = chance.below(10);
        Target {
            key,
            end,
            prev_kv: chance.permille(300),
            fragment: chance.permille(300),
            no_put: filter == 0,
            no_delete: filter == 1,
            next: chance.permille(500).then_some(2),
            parts: Vec::new(),
        }
    }

    /// What it must be told of revisions up to this one.
    fn expected<'a>(&'a self, to: i64, model: &'a Model) -> impl Iterator<Item = &'a KeyValue> {
        let from = self.next.unwrap_or(i64::MAX);
        let wanted = |event: &&KeyValue| {
            if event.version > 0 { !self.no_put } else { !self.no_delete }
        };
        model.events((&self.key, &self.end), from, to).filter(wanted)
    }

    fn progress(&mut self, revision: i64, model: &Model) -> Checked {
        let missing = self.expected(revision, model).next();
        ensure!(
            missing.is_none() && self.parts.is_empty(),
            "a watch is told that it has seen all up to {revision}, but not {missing:?}"
        );
        self.next = self.next.map(|next| next.max(revision + 1));
        Ok(())
    }

    fn compacted(&mut self, floor: i64, model: &Model) -> Checked {
        let next = self.next.unwrap_or(i64::MAX);
        ensure!(
            next < floor && floor <= model.compacted,
            "a watch that needs {next} is ended by a compaction of {floor}, the floor is {}",
            model.compacted
        );
        self.next = Some(floor);
        Ok(())
    }

    fn events(&mut self, revision: i64, model: &Model) -> Checked {
        let parts = std::mem::take(&mut self.parts);
        let decode = |bytes| mvccpb::Event::decode(bytes).expect("events decode");
        let mut last = 0;
        let mut events = Vec::new();
        for event in parts.into_iter().map(decode) {
            let is_put = event.r#type == 0;
            let kv = record(event.kv.unwrap_or_default());
            last = kv.mod_revision;
            ensure!(is_put == (kv.version > 0), "a watch is told of a strange event {kv:?}");
            events.push((kv, event.prev_kv.map(record)));
        }
        ensure!(revision >= last, "a watch is told of {last} in a response at {revision}");
        let expected: Vec<&KeyValue> = self.expected(last, model).collect();
        ensure!(
            expected
                .iter()
                .map(|kv| &kv.mod_revision)
                .eq(events.iter().map(|(kv, _)| &kv.mod_revision))
                && expected.iter().zip(&events).all(|(expected, (kv, _))| *expected == kv),
            "a watch that needs {:?} is told {events:?}, it should be {expected:?}",
            self.next
        );
        for (kv, previous) in &events {
            let before = model.before(kv).filter(|_| self.prev_kv);
            let gone = kv.mod_revision <= model.compacted && previous.is_none();
            ensure!(
                gone || previous.as_ref() == before,
                "a watch is told that {kv:?} replaced {previous:?}, it was {before:?}"
            );
        }
        self.next = Some(last + 1);
        Ok(())
    }
}

impl World {
    /// A watching client looks what there is.
    pub(crate) fn watch(&mut self, number: usize) -> Checked {
        let pace = if self.healing { 20 * MS } else { self.watchers[number].pace };
        let time = self.time + 1 + self.chance.below(2 * pace);
        self.queue.push(time, Event::Watch(number));
        let watcher = &mut self.watchers[number];
        let is_there = watcher.stream.as_ref().is_some_and(|(life, _)| {
            let member = &self.members[life.member];
            member.is_up() && member.life == *life
        });
        if !is_there || (!self.healing && self.chance.permille(10)) {
            self.connect(number);
        }
        let watcher = &mut self.watchers[number];
        let Some((life, stream)) = &watcher.stream else { return Ok(()) };
        let place = life.member;
        if self.members[place].paused_until > self.time {
            return Ok(());
        }
        match self.chance.below(20) {
            0 => stream.request_progress(),
            1 => stream.notify_progress(),
            _ => {}
        }
        // A watch reads a chunk of history each time that it is looked at; in the end it is looked
        // at as often as one that is woken.
        for _ in 0..if self.healing { HEALED_TAKES } else { watcher.takes } {
            let Some((_, stream)) = &watcher.stream else { break };
            let polled = stream.poll_next(Waker::noop());
            let response = match polled {
                Poll::Pending if self.healing => continue,
                Poll::Pending => break,
                Poll::Ready(Ok(response)) => response,
                Poll::Ready(Err(_)) => {
                    watcher.stream = None;
                    break;
                }
            };
            let ended = watcher.take(response, &self.oracle.model, &mut self.totals);
            if ended.map_err(by(place))? {
                watcher.stream = None;
            }
        }
        Ok(())
    }

    /// Goes to any member that runs.
    fn connect(&mut self, number: usize) {
        let place = self.chance.place(self.members.len());
        let member = &self.members[place];
        let watcher = &mut self.watchers[number];
        watcher.stream = None;
        if !member.is_up() || member.paused_until > self.time {
            return;
        }
        self.totals.watch_resumed += u64::from(watcher.has_seen(0));
        let stream = member.driver().machine.hub().stream(watcher.options.clone());
        watcher.connect(member.life, stream);
    }
}
