//! What may be done to a queue, or to a shared limit of that name.

use std::fmt;
use std::ops::BitOr;

use serde::Deserialize;

/// One thing that may be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Right {
    /// Put jobs in, and cancel or change those that wait.
    Enqueue,
    /// Lease and settle jobs, and drain.
    Consume,
    /// Read jobs, statistics and settings.
    Read,
    /// Change settings, requeue and remove jobs. Who may do that may read too.
    Admin,
    /// Enqueue jobs that pass limits.
    Bypass,
}

/// Some rights; where one is asked for, any of them will do.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Rights(u8);

impl Right {
    const ALL: [Right; 5] = [Right::Enqueue, Right::Consume, Right::Read, Right::Admin, Right::Bypass];

    /// As the file of identities calls it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Right::Enqueue => "enqueue",
            Right::Consume => "consume",
            Right::Read => "read",
            Right::Admin => "admin",
            Right::Bypass => "bypass",
        }
    }
}

impl Rights {
    /// This right alone.
    #[must_use]
    pub const fn only(right: Right) -> Rights {
        Rights(1 << right as u8)
    }

    /// Either of two.
    #[must_use]
    pub const fn or(self, right: Right) -> Rights {
        Rights(self.0 | 1 << right as u8)
    }

    /// Every right there is.
    #[must_use]
    pub fn all() -> Rights {
        Right::ALL.into_iter().collect()
    }

    /// What somebody has to whom these were granted: whoever may change what there is may read it.
    #[must_use]
    pub(super) fn granted(self) -> Rights {
        if self.meets(Rights::only(Right::Admin)) { self.or(Right::Read) } else { self }
    }

    /// Whether one of `wanted` is among these.
    #[must_use]
    pub fn meets(self, wanted: Rights) -> bool {
        self.0 & wanted.0 != 0
    }
}

impl BitOr for Rights {
    type Output = Rights;

    fn bitor(self, other: Rights) -> Rights {
        Rights(self.0 | other.0)
    }
}

impl From<Right> for Rights {
    fn from(right: Right) -> Rights {
        Rights::only(right)
    }
}

impl FromIterator<Right> for Rights {
    fn from_iter<I: IntoIterator<Item = Right>>(rights: I) -> Rights {
        rights.into_iter().fold(Rights::default(), Rights::or)
    }
}

/// `enqueue or consume`.
impl fmt::Display for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> =
            Right::ALL.into_iter().filter(|right| self.meets((*right).into())).map(Right::name).collect();
        f.write_str(&names.join(" or "))
    }
}

impl fmt::Debug for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rights({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_of_the_wanted_rights_will_do() {
        let wanted = Rights::only(Right::Enqueue).or(Right::Consume);
        assert!(Rights::from(Right::Consume).meets(wanted));
        assert!(!Rights::from(Right::Read).meets(wanted) && !Rights::default().meets(wanted));
        assert_eq!(wanted.to_string(), "enqueue or consume");
    }

    #[test]
    fn who_administers_may_read_and_nothing_else_besides() {
        let granted = Rights::from(Right::Admin).granted();
        assert!(granted.meets(Right::Read.into()) && granted.meets(Right::Admin.into()));
        for other in [Right::Enqueue, Right::Consume, Right::Bypass] {
            assert!(!granted.meets(other.into()), "{}", other.name());
        }
        assert_eq!(Rights::from(Right::Read).granted(), Right::Read.into());
    }
}
