//! Validity of certificates, and their order in a chain.

use tokio_rustls::rustls::pki_types::CertificateDer;

/// Validity of a certificate, in seconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Validity {
    pub(crate) from: i64,
    pub(crate) until: i64,
}

impl Validity {
    /// Reads the validity of a certificate; `None` if it cannot be parsed.
    pub(crate) fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
        let validity = certificate.validity();
        Some(Self {
            from: validity.not_before.timestamp(),
            until: validity.not_after.timestamp(),
        })
    }

    /// Returns the time in which all certificates are valid; `None` for an empty list, or if one cannot be parsed.
    pub(crate) fn of_all(certificates: &[CertificateDer<'_>]) -> Option<Self> {
        let all: Option<Vec<Self>> = certificates.iter().map(Self::of).collect();
        all?.into_iter().reduce(|first, other| Self {
            from: first.from.max(other.from),
            until: first.until.min(other.until),
        })
    }
}

/// Returns `true` if each certificate names the next one as its issuer. Clients cannot verify another order.
pub(crate) fn is_linked(chain: &[CertificateDer<'_>]) -> bool {
    chain.windows(2).all(|pair| {
        let parsed = pair.iter().map(|certificate| {
            let parsed = x509_parser::parse_x509_certificate(certificate).ok();
            parsed.map(|(_, certificate)| certificate)
        });
        match parsed.collect::<Vec<_>>().as_slice() {
            [Some(first), Some(issuer)] => first.issuer().as_raw() == issuer.subject().as_raw(),
            _ => false,
        }
    })
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

    use super::*;

    fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_after = rcgen::date_time_ymd(2090, 1, 1);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    }

    fn leaf(issuer: &CertifiedIssuer<'static, KeyPair>, last_year: i32) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(vec!["sip.example.net".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(last_year, 1, 1);
        let key = KeyPair::generate().unwrap();
        params.signed_by(&key, issuer).unwrap().der().clone()
    }

    #[test]
    fn a_chain_is_valid_as_long_as_its_shortest_certificate() {
        let issuer = authority("first");
        let own = issuer.der().clone();
        let until = |chain: &[CertificateDer<'static>]| Validity::of_all(chain).unwrap().until;
        assert_eq!(until(&[leaf(&issuer, 2030), own.clone()]), 1_893_456_000);
        assert_eq!(until(&[leaf(&issuer, 2095), own.clone()]), until(&[own]));
        assert_eq!(Validity::of_all(&[]), None);
        assert_eq!(Validity::of(&CertificateDer::from(vec![1, 2, 3])), None);
    }

    #[test]
    fn a_chain_is_linked_if_each_certificate_is_issued_by_the_next() {
        let (issuer, other) = (authority("first"), authority("other"));
        let first = leaf(&issuer, 2030);
        assert!(is_linked(std::slice::from_ref(&first)));
        assert!(is_linked(&[first.clone(), issuer.der().clone()]));
        assert!(!is_linked(&[first.clone(), other.der().clone()]));
        assert!(!is_linked(&[issuer.der().clone(), first]));
    }
}
