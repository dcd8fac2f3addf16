//! Active transactions, in tables that shrink after a burst.

use crate::sip::{
    Dispatch, Message, Output, Reliability, Request, Response, Timer, Timers, TransactionKey,
    TransactionLayer,
};

/// Peak up to which the tables are never replaced, in transactions.
const MIN_PEAK: usize = 1024;
/// Ratio of peak to active transactions above which the tables are replaced.
const SHRINK_RATIO: usize = 8;

/// Transaction layer whose tables shrink. Those of the library never do.
///
/// After a burst the remaining transactions complete in the old layer, and new ones start in a
/// small new layer. So memory is released even if some transaction is always active, such as the
/// probes of an unreachable trunk.
pub(crate) struct Transactions {
    timers: Timers,
    current: TransactionLayer,
    /// Peak number of transactions in the current layer.
    peak: usize,
    retiring: Option<TransactionLayer>,
}

impl Transactions {
    pub(crate) fn new(timers: Timers) -> Self {
        Self {
            timers,
            current: TransactionLayer::new(timers),
            peak: 0,
            retiring: None,
        }
    }

    /// Starts a client transaction.
    pub(crate) fn send_request(
        &mut self,
        request: Request,
        reliability: Reliability,
    ) -> Option<(TransactionKey, Vec<Output>)> {
        let begun = self.current.send_request(request, reliability);
        self.update_peak();
        begun
    }

    /// Passes a message to its transaction, or starts a new one.
    pub(crate) fn receive(&mut self, message: Message, reliability: Reliability) -> Dispatch {
        if let Some(retiring) = self
            .retiring
            .as_mut()
            .filter(|retiring| owns_message(retiring, &message))
        {
            return retiring.receive(message, reliability);
        }
        let dispatch = self.current.receive(message, reliability);
        self.update_peak();
        dispatch
    }

    /// Sends a response within a server transaction.
    pub(crate) fn send_response(
        &mut self,
        key: &TransactionKey,
        response: Response,
    ) -> Vec<Output> {
        self.layer_for(key).send_response(key, response)
    }

    /// Drops a server transaction without a response.
    pub(crate) fn abandon(&mut self, key: &TransactionKey) {
        self.layer_for(key).abandon(key);
    }

    pub(crate) fn on_timer(&mut self, key: &TransactionKey, timer: Timer) -> Vec<Output> {
        self.layer_for(key).on_timer(key, timer)
    }

    pub(crate) fn on_transport_error(&mut self, key: &TransactionKey) -> Vec<Output> {
        self.layer_for(key).on_transport_error(key)
    }

    /// Returns the request of a client transaction.
    pub(crate) fn client_request(&self, key: &TransactionKey) -> Option<&Request> {
        let retiring = self
            .retiring
            .as_ref()
            .and_then(|retiring| retiring.client_request(key));
        retiring.or_else(|| self.current.client_request(key))
    }

    /// Replaces tables that are much larger than needed. Called at the end of a transaction.
    pub(crate) fn shrink_tables(&mut self) {
        self.retiring.take_if(|retiring| retiring.is_empty());
        if self.retiring.is_none()
            && self.peak > MIN_PEAK
            && count(&self.current) < self.peak / SHRINK_RATIO
        {
            let emptied = std::mem::replace(&mut self.current, TransactionLayer::new(self.timers));
            self.retiring = Some(emptied).filter(|emptied| !emptied.is_empty());
            self.peak = 0;
        }
    }

    fn update_peak(&mut self) {
        self.peak = self.peak.max(count(&self.current));
    }

    fn layer_for(&mut self, key: &TransactionKey) -> &mut TransactionLayer {
        let holds = |layer: &&mut TransactionLayer| {
            layer.client_state(key).is_some() || layer.server_state(key).is_some()
        };
        self.retiring
            .as_mut()
            .filter(holds)
            .unwrap_or(&mut self.current)
    }
}

fn count(layer: &TransactionLayer) -> usize {
    let (client, server) = layer.len();
    client.saturating_add(server)
}

/// Returns `true` if the layer has the transaction of this message.
fn owns_message(layer: &TransactionLayer, message: &Message) -> bool {
    match message {
        Message::Request(request) => TransactionKey::from_request(request)
            .is_some_and(|key| layer.server_state(&key).is_some()),
        Message::Response(response) => TransactionKey::from_response(response)
            .is_some_and(|key| layer.client_state(&key).is_some()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::{Limits, ResponseBuilder, StatusCode, parse_datagram};

    fn options(number: usize) -> Message {
        let text = format!(
            "OPTIONS sip:127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.2;branch=z9hG4bK{number}\r\n\
             From: <sip:127.0.0.2>;tag=a\r\nTo: <sip:127.0.0.1>\r\nCall-ID: {number}\r\nCSeq: 1 OPTIONS\r\n\
             Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
        );
        parse_datagram(text.into(), &Limits::datagram()).unwrap()
    }

    fn receive(transactions: &mut Transactions, number: usize) -> Dispatch {
        transactions.receive(options(number), Reliability::Unreliable)
    }

    #[test]
    fn tables_shrink_after_a_burst_even_if_a_transaction_is_always_active() {
        let mut transactions = Transactions::new(Timers::default());
        let burst: Vec<_> = (0..4000)
            .map(|number| match receive(&mut transactions, number) {
                Dispatch::Created { key, .. } => key,
                _ => panic!("expected a new transaction"),
            })
            .collect();
        let (oldest, others) = burst.split_first().unwrap();
        for key in others {
            transactions.abandon(key);
            transactions.shrink_tables();
        }
        assert_eq!(transactions.retiring.as_ref().map(count), Some(1));
        assert_eq!(transactions.peak, 0);

        // New transactions start in the small layer. The old layer still sends responses and their
        // retransmissions.
        assert!(matches!(
            receive(&mut transactions, 5000),
            Dispatch::Created { .. }
        ));
        let Message::Request(request) = options(0) else {
            unreachable!()
        };
        let ok = ResponseBuilder::to_request(&request, StatusCode::new(200).unwrap(), "OK")
            .unwrap()
            .build();
        assert!(!transactions.send_response(oldest, ok).is_empty());
        let Dispatch::Matched { outputs, .. } = receive(&mut transactions, 0) else {
            panic!("expected the known transaction")
        };
        assert!(
            outputs
                .iter()
                .any(|output| matches!(output, Output::Send(_)))
        );
        assert!(matches!(
            receive(&mut transactions, 5000),
            Dispatch::Matched { .. }
        ));
        assert_eq!(count(&transactions.current), 1);

        let ended = transactions.on_timer(oldest, Timer::J);
        assert!(
            ended
                .iter()
                .any(|output| matches!(output, Output::Terminated(_)))
        );
        transactions.shrink_tables();
        assert!(transactions.retiring.is_none());
    }
}
