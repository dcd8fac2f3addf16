//! What a number offers to one more allocation: its row, read once, and the place that is taken on it.

use super::allocations::OPEN_PIN_LENGTH;
use super::capacity::Places;
use super::database::Row;
use super::numbers::{small, tenant_id};
use super::writer::Tx;
use super::{CreateError, GreenpinId, NewAllocation, NumberMode, StoreError, TenantId, Timestamp, sql};

/// A number, as one more allocation meets it.
pub(super) struct Offer {
    pub(super) number_key: String,
    pub(super) mode: NumberMode,
    pub(super) pin_length: u8,
    /// Active allocations that are counted, on a shared number; those that have ended lately are among them.
    active: i64,
    /// How many it takes at once.
    most: i64,
    /// Whether some of those counted have ended.
    some_ended: bool,
}

/// Reads what a number of a tenant's pool offers.
pub(super) fn find(
    tx: &Tx<'_>,
    tenant: &TenantId,
    new: &NewAllocation,
    now: Timestamp,
) -> Result<Offer, CreateError> {
    let number_key = tx.keys().number(new.virtual_number);
    let found = tx.row(sql::NUMBER_OFFER, (now.micros(), &number_key), Columns::read)?;
    let found = found.ok_or(CreateError::NumberNotInPool)?;
    if tenant_id(&found.tenant)? != *tenant {
        return Err(CreateError::NumberNotInPool);
    }
    if found.quarantined {
        return Err(CreateError::NumberQuarantined);
    }
    Ok(Offer {
        mode: found.mode.parse()?,
        pin_length: small(found.pin_length, "PIN length")?,
        active: found.active,
        most: found.most,
        some_ended: found.some_ended,
        number_key,
    })
}

struct Columns {
    tenant: String,
    mode: String,
    pin_length: i64,
    quarantined: bool,
    active: i64,
    most: i64,
    some_ended: bool,
}

impl Columns {
    fn read(row: &Row<'_>) -> Result<Self, StoreError> {
        Ok(Self {
            tenant: row.get(0)?,
            mode: row.get(1)?,
            pin_length: row.get(2)?,
            quarantined: row.get::<Option<i64>>(3)?.is_some(),
            active: row.get(4)?,
            most: row.get(5)?,
            some_ended: row.get::<i64>(6)? != 0,
        })
    }
}

impl Offer {
    /// The exclusive number's own row decides: whoever changes it has won.
    pub(super) fn hold(
        &self,
        tx: &Tx<'_>,
        tenant: &TenantId,
        id: &GreenpinId,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<(), CreateError> {
        let hold = (id.as_str(), until.micros(), &self.number_key, tenant.as_str(), now.micros());
        match tx.execute(sql::NUMBER_HOLD, hold)? {
            0 => Err(CreateError::VirtualNumberBusy),
            _ => Ok(()),
        }
    }

    /// Gives back the places of those that have ended, and takes one. Nobody else writes meanwhile, so that what was
    /// read of the number holds.
    pub(super) fn take_place(
        &self,
        tx: &Tx<'_>,
        new: &NewAllocation,
        now: Timestamp,
    ) -> Result<Places, CreateError> {
        if self.pin_length < OPEN_PIN_LENGTH && new.to.is_empty() {
            return Err(CreateError::ToRequired);
        }
        let ended = match self.some_ended {
            true => tx.execute(sql::PINS_RELEASE_DUE, (&self.number_key, now.micros()))?,
            false => 0,
        };
        let others = self.active - i64::try_from(ended).unwrap_or(0);
        if others >= self.most {
            return Err(CreateError::PinSpaceExhausted);
        }
        let places = Places { active: others + 1, most: self.most };
        tx.send(sql::NUMBER_TAKE_PLACE, (places.active, &self.number_key))?;
        Ok(places)
    }
}
