//! How many drives hold what: data, parity, and how many must answer.
//!
//! The whole table for 1 to 16 drives stands in `docs/formats.md`. A write waits for k+1 drives (k without
//! parity): one failure right after an acknowledgement still leaves enough to read it. A read needs k.

/// Data and parity of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Columns that hold data: k.
    pub data: usize,
    /// Columns that hold parity: m, at most k.
    pub parity: usize,
}

/// Why a number of drives and a parity do not go together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GeometryError {
    /// No drives, or more than a set can have.
    #[error("{drives} drives were given, a set has 1 to {limit}", limit = Geometry::DRIVES_MAX)]
    Drives {
        /// Drives given.
        drives: usize,
    },
    /// More parity than data, or parity on a single drive.
    #[error("parity {parity} does not fit {drives} drives: at most half of them can hold parity")]
    Parity {
        /// Drives given.
        drives: usize,
        /// Parity asked for.
        parity: usize,
    },
}

impl Geometry {
    /// Most drives of one set.
    pub const DRIVES_MAX: usize = 16;

    /// The geometry of a set of `drives`, with the parity asked for or the default for their number.
    ///
    /// # Errors
    ///
    /// [`GeometryError`] when there are 0 or more than 16 drives, or parity exceeds half of them.
    pub fn of(drives: usize, parity: Option<usize>) -> Result<Geometry, GeometryError> {
        if drives == 0 || drives > Geometry::DRIVES_MAX {
            return Err(GeometryError::Drives { drives });
        }
        let parity = parity.unwrap_or(match drives {
            1 => 0,
            2 | 3 => 1,
            4 | 5 => 2,
            6 | 7 => 3,
            _ => 4,
        });
        if parity > drives / 2 {
            return Err(GeometryError::Parity { drives, parity });
        }
        Ok(Geometry { data: drives - parity, parity })
    }

    /// All drives: n.
    pub fn drives(self) -> usize {
        self.data + self.parity
    }

    /// Drives a write waits for: q.
    pub fn write_quorum(self) -> usize {
        if self.parity == 0 { self.data } else { self.data + 1 }
    }

    /// Drives a read needs: k.
    pub fn read_quorum(self) -> usize {
        self.data
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_parity_and_quorums_are_those_of_the_table_in_the_documentation() {
        let table: Vec<(usize, usize, usize, usize)> = (1..=16)
            .map(|drives| {
                let geometry = Geometry::of(drives, None).unwrap();
                (drives, geometry.data, geometry.parity, geometry.write_quorum())
            })
            .collect();
        assert_eq!(
            table,
            [
                (1, 1, 0, 1),
                (2, 1, 1, 2),
                (3, 2, 1, 3),
                (4, 2, 2, 3),
                (5, 3, 2, 4),
                (6, 3, 3, 4),
                (7, 4, 3, 5),
                (8, 4, 4, 5),
                (9, 5, 4, 6),
                (10, 6, 4, 7),
                (11, 7, 4, 8),
                (12, 8, 4, 9),
                (13, 9, 4, 10),
                (14, 10, 4, 11),
                (15, 11, 4, 12),
                (16, 12, 4, 13),
            ]
        );
    }

    #[test]
    fn parity_beyond_half_of_the_drives_and_sets_beyond_sixteen_are_refused() {
        assert_eq!(Geometry::of(4, Some(3)), Err(GeometryError::Parity { drives: 4, parity: 3 }));
        assert_eq!(Geometry::of(0, None), Err(GeometryError::Drives { drives: 0 }));
        assert_eq!(Geometry::of(17, None), Err(GeometryError::Drives { drives: 17 }));
        assert_eq!(Geometry::of(8, Some(2)), Ok(Geometry { data: 6, parity: 2 }));
    }
}
