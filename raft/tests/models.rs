//! Who decides: commit indexes and elections of one configuration or a joint one, against a naive
//! count, for every configuration of up to five voters and everything that they may have said.

// The parts that tests share may unwrap like the tests themselves.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use bytes::Bytes;
use revd_raft::*;

/// The member that stands and leads.
const ME: NodeId = NodeId(1);
const MEMBERS: u64 = 5;

/// The configuration whose voters and outgoing voters are the members of two sets, a bit for each.
fn configuration(voters: u64, outgoing: u64) -> Configuration {
    let mut bytes = vec![1, 0];
    for set in [voters, outgoing, 0, 0] {
        let ids: Vec<u64> = (1..=MEMBERS).filter(|&id| has(set, id)).collect();
        bytes.extend_from_slice(&(ids.len() as u32).to_le_bytes());
        bytes.extend(ids.iter().flat_map(|id| id.to_le_bytes()));
    }
    Configuration::decode(&bytes).unwrap()
}

fn has(set: u64, id: u64) -> bool {
    set & (1 << (id - 1)) != 0
}

/// Every pair of voters and outgoing voters in which this member votes.
fn configurations() -> impl Iterator<Item = (u64, u64)> {
    let sets = 1 << MEMBERS;
    let pairs = (1..sets).flat_map(move |voters| (0..sets).map(move |outgoing| (voters, outgoing)));
    pairs.filter(|&(voters, outgoing)| has(voters | outgoing, ME.0))
}

/// Whether more than half of each set that is not empty are of this kind.
fn decides(voters: u64, outgoing: u64, agrees: impl Fn(u64) -> bool) -> bool {
    [voters, outgoing].into_iter().filter(|&set| set != 0).all(|set| {
        let all = (1..=MEMBERS).filter(|&id| has(set, id));
        2 * all.clone().filter(|&id| agrees(id)).count() > all.count()
    })
}

/// Every way to give each of the other voters one of `choices` answers.
fn answers(voters: u64, outgoing: u64, choices: u64) -> impl Iterator<Item = Vec<(u64, u64)>> {
    let others: Vec<u64> = (2..=MEMBERS).filter(|&id| has(voters | outgoing, id)).collect();
    (0..choices.pow(others.len() as u32)).map(move |mut code| {
        let answer = |&id: &u64| {
            let answer = code % choices;
            code /= choices;
            (id, answer)
        };
        others.iter().map(answer).collect()
    })
}

/// This member, standing in term 1 with its own vote durable.
fn candidate(voters: u64, outgoing: u64) -> Raft {
    let mut config = Config::new(ME);
    config.pre_vote = false;
    let members = configuration(voters, outgoing);
    let restart = Restart::new(&config, HardState::default(), Position::default(), members);
    let mut raft = Raft::new(config, restart, 1).unwrap();
    raft.step(Input::Campaign).unwrap();
    let vote = raft.take().persist.unwrap();
    raft.step(Input::Persisted(vote.number)).unwrap();
    raft
}

fn hear(raft: &mut Raft, from: u64, body: Body) {
    let message = Message { from: NodeId(from), to: ME, term: Term(1), body };
    raft.step(Input::Message(message)).unwrap();
}

fn vote(raft: &mut Raft, from: u64, granted: bool) {
    hear(raft, from, Body::VoteAnswer { granted, committed: Position::default() });
}

#[test]
fn an_election_is_won_by_both_majorities_and_lost_when_one_is_out_of_reach() {
    const NOTHING: u64 = 0;
    const REFUSED: u64 = 1;
    let mut cases = 0;
    for (voters, outgoing) in configurations() {
        let standing = candidate(voters, outgoing);
        for mut said in answers(voters, outgoing, 3) {
            let answer = |id| {
                let found = said.iter().find(|&&(from, _)| from == id);
                found.map_or(ME.0 + 1, |&(_, answer)| answer)
            };
            let granted = |id| answer(id) > REFUSED;
            let won = decides(voters, outgoing, granted);
            let open = decides(voters, outgoing, |id| answer(id) != REFUSED);
            let expected = match (won, open) {
                (true, _) => Role::Leader,
                (false, true) => Role::Candidate,
                (false, false) => Role::Follower,
            };
            // The order of the answers does not matter.
            for _ in 0..2 {
                said.reverse();
                let mut raft = standing.clone();
                for &(from, answer) in said.iter().filter(|(_, answer)| *answer != NOTHING) {
                    vote(&mut raft, from, answer != REFUSED);
                }
                let found = raft.status().role;
                assert_eq!(found, expected, "{voters:b} {outgoing:b} {said:?}");
                cases += 1;
            }
        }
    }
    println!("{cases} elections");
}

#[test]
fn what_both_majorities_hold_durably_is_committed_and_nothing_else() {
    let mut cases = 0;
    for (voters, outgoing) in configurations() {
        // Leads, its first entry and two more in the log, the first being written.
        let mut leader = candidate(voters, outgoing);
        for from in 2..=MEMBERS {
            if has(voters | outgoing, from) {
                vote(&mut leader, from, true);
            }
        }
        assert_eq!(leader.status().role, Role::Leader, "{voters:b} {outgoing:b}");
        let first = leader.take().persist.unwrap().number;
        for _ in 0..2 {
            leader.propose(Bytes::from_static(b"entry")).unwrap();
        }
        for own in [0, 1, 3] {
            let mut leader = leader.clone();
            if own > 0 {
                leader.step(Input::Persisted(first)).unwrap();
                let second = leader.take().persist.unwrap().number;
                if own > 1 {
                    leader.step(Input::Persisted(second)).unwrap();
                }
            }
            for said in answers(voters, outgoing, 4) {
                let held = |id| {
                    let found = said.iter().find(|&&(from, _)| from == id);
                    found.map_or(own, |&(_, held)| held)
                };
                let reached = |&index: &u64| decides(voters, outgoing, |id| held(id) >= index);
                let expected = (1..=3).rev().find(reached).unwrap_or(0);
                let mut raft = leader.clone();
                for &(from, matched) in said.iter().filter(|(_, matched)| *matched > 0) {
                    let matched = Index(matched);
                    hear(&mut raft, from, Body::Appended { matched, counts: true });
                }
                let found = raft.status().commit;
                let case = format!("{voters:b} {outgoing:b}, own {own}, others {said:?}");
                assert_eq!(found, Index(expected), "{case}");
                cases += 1;
            }
        }
    }
    println!("{cases} commit indexes");
}
