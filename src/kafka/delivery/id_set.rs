//! A set of small numbers, for what a round looks at. Pure.

/// Numbers in no order. Adding, removing and asking cost the same, however many they are.
#[derive(Debug, Default)]
pub(super) struct IdSet {
    ids: Vec<usize>,
    /// By number: its place in `ids`, counted from 1; 0 if it is not there.
    places: Vec<usize>,
}

impl IdSet {
    /// Makes a number a member, or none.
    #[inline]
    pub(super) fn set(&mut self, id: usize, is_member: bool) {
        if self.contains(id) == is_member {
            return;
        }
        if is_member {
            self.ids.push(id);
            if self.places.len() <= id {
                self.places.resize(id + 1, 0);
            }
            self.places[id] = self.ids.len();
        } else {
            let place = std::mem::take(&mut self.places[id]);
            self.ids.swap_remove(place - 1);
            if let Some(moved) = self.ids.get(place - 1) {
                self.places[*moved] = place;
            }
        }
    }

    #[inline]
    pub(super) fn contains(&self, id: usize) -> bool {
        self.places.get(id).is_some_and(|place| *place > 0)
    }

    pub(super) fn as_slice(&self) -> &[usize] {
        &self.ids
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_has_what_a_set_has(changes in prop::collection::vec((0usize..40, any::<bool>()), 0..400)) {
            let (mut set, mut expected) = (IdSet::default(), BTreeSet::new());
            for (id, is_member) in changes {
                set.set(id, is_member);
                if is_member { expected.insert(id); } else { expected.remove(&id); }
                prop_assert_eq!(set.contains(id), is_member);
                let members: BTreeSet<_> = set.as_slice().iter().copied().collect();
                prop_assert_eq!(&members, &expected);
                prop_assert_eq!(set.as_slice().len(), expected.len());
            }
        }
    }
}
