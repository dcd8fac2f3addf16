//! SIP dialogs and offer/answer of a back-to-back user agent, sans-IO.
