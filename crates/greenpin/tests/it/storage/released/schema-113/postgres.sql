
SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

SET default_tablespace = '';

SET default_table_access_method = heap;

CREATE TABLE public.allocations (
    tenant_id text NOT NULL COLLATE pg_catalog."C",
    greenpin_id text NOT NULL COLLATE pg_catalog."C",
    number_key text NOT NULL COLLATE pg_catalog."C",
    sealed text NOT NULL COLLATE pg_catalog."C",
    record bigint NOT NULL,
    custom_field text COLLATE pg_catalog."C",
    max_pin_attempts bigint NOT NULL,
    failed_pin_attempts bigint DEFAULT 0 NOT NULL,
    call_count bigint DEFAULT 0 NOT NULL,
    attempt_count bigint DEFAULT 0 NOT NULL,
    sequence bigint DEFAULT 0 NOT NULL,
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    expires_at bigint NOT NULL,
    deleted_at bigint,
    expiry_reported_at bigint
);

CREATE TABLE public.attempts (
    tenant_id text NOT NULL COLLATE pg_catalog."C",
    event_id text NOT NULL COLLATE pg_catalog."C",
    endpoint_id text NOT NULL COLLATE pg_catalog."C",
    begun_at bigint NOT NULL,
    latency bigint NOT NULL,
    status bigint,
    error text COLLATE pg_catalog."C",
    sealed_answer text NOT NULL COLLATE pg_catalog."C"
);

CREATE TABLE public.audit (
    audit_id text NOT NULL COLLATE pg_catalog."C",
    occurred_at bigint NOT NULL,
    actor text NOT NULL COLLATE pg_catalog."C",
    act text NOT NULL COLLATE pg_catalog."C",
    tenant_id text COLLATE pg_catalog."C",
    object text COLLATE pg_catalog."C",
    request_id text COLLATE pg_catalog."C"
);

CREATE TABLE public.calls (
    tenant_id text NOT NULL COLLATE pg_catalog."C",
    call_sid text NOT NULL COLLATE pg_catalog."C",
    number_key text NOT NULL COLLATE pg_catalog."C",
    greenpin_id text COLLATE pg_catalog."C",
    caller_key text COLLATE pg_catalog."C",
    sealed text NOT NULL COLLATE pg_catalog."C",
    trunk text NOT NULL COLLATE pg_catalog."C",
    node text NOT NULL COLLATE pg_catalog."C",
    started_at bigint NOT NULL,
    answered_at bigint,
    dialled_key text COLLATE pg_catalog."C",
    sealed_dialled text COLLATE pg_catalog."C",
    dialled_at bigint,
    bridged_at bigint,
    ended_at bigint,
    call_type text COLLATE pg_catalog."C",
    dial_call_status text COLLATE pg_catalog."C",
    sip_cause bigint,
    hangup_by text COLLATE pg_catalog."C",
    pin_attempts bigint DEFAULT 0 NOT NULL,
    recording_file text COLLATE pg_catalog."C",
    recording_ms bigint,
    caller_media text COLLATE pg_catalog."C",
    callee_media text COLLATE pg_catalog."C",
    caller_withheld bigint DEFAULT 0 NOT NULL,
    cause text COLLATE pg_catalog."C",
    sealed_legs text COLLATE pg_catalog."C"
);

CREATE TABLE public.credentials (
    account_sid text NOT NULL COLLATE pg_catalog."C",
    tenant_id text NOT NULL COLLATE pg_catalog."C",
    digest text NOT NULL COLLATE pg_catalog."C",
    created_at bigint NOT NULL,
    revoked_at bigint,
    label text COLLATE pg_catalog."C",
    last_used_at bigint
);

CREATE TABLE public.deliveries (
    tenant_id text NOT NULL COLLATE pg_catalog."C",
    event_id text NOT NULL COLLATE pg_catalog."C",
    endpoint_id text NOT NULL COLLATE pg_catalog."C",
    queue text NOT NULL COLLATE pg_catalog."C",
    sequence bigint NOT NULL,
    state text NOT NULL COLLATE pg_catalog."C",
    attempts bigint DEFAULT 0 NOT NULL,
    due_at bigint NOT NULL,
    created_at bigint NOT NULL,
    finished_at bigint,
    tried_at bigint,
    claimed_by text COLLATE pg_catalog."C",
    CONSTRAINT deliveries_state_check CHECK ((state = ANY (ARRAY['waiting'::text, 'due'::text, 'delivered'::text, 'failed'::text])))
);

CREATE TABLE public.endpoints (
    tenant_id text NOT NULL COLLATE pg_catalog."C",
    endpoint_id text NOT NULL COLLATE pg_catalog."C",
    url text NOT NULL COLLATE pg_catalog."C",
    types text COLLATE pg_catalog."C",
    sealed_secret text NOT NULL COLLATE pg_catalog."C",
    paused bigint NOT NULL,
    created_at bigint NOT NULL,
    removed_at bigint,
    format text DEFAULT 'standard'::text NOT NULL COLLATE pg_catalog."C",
    sealed_old_secret text COLLATE pg_catalog."C",
    old_secret_until bigint DEFAULT 0 NOT NULL,
    failing_since bigint,
    failures bigint DEFAULT 0 NOT NULL,
    disabled_at bigint
);

CREATE TABLE public.erasures (
    tenant_id text NOT NULL COLLATE pg_catalog."C",
    erasure_id text NOT NULL COLLATE pg_catalog."C",
    begun_at bigint NOT NULL,
    finished_at bigint,
    erased text NOT NULL COLLATE pg_catalog."C"
);

CREATE TABLE public.events (
    tenant_id text NOT NULL COLLATE pg_catalog."C",
    event_id text NOT NULL COLLATE pg_catalog."C",
    greenpin_id text COLLATE pg_catalog."C",
    type text NOT NULL COLLATE pg_catalog."C",
    sequence bigint NOT NULL,
    occurred_at bigint NOT NULL,
    sealed text NOT NULL COLLATE pg_catalog."C"
);

CREATE TABLE public.idempotency_keys (
    tenant_id text NOT NULL COLLATE pg_catalog."C",
    key_digest text NOT NULL COLLATE pg_catalog."C",
    request_digest text NOT NULL COLLATE pg_catalog."C",
    taken_at bigint NOT NULL,
    status bigint,
    content_type text COLLATE pg_catalog."C",
    answer text COLLATE pg_catalog."C",
    greenpin_id text COLLATE pg_catalog."C"
);

CREATE TABLE public.listed_callers (
    number_key text NOT NULL COLLATE pg_catalog."C",
    caller_key text NOT NULL COLLATE pg_catalog."C",
    greenpin_id text NOT NULL COLLATE pg_catalog."C",
    tenant_id text NOT NULL COLLATE pg_catalog."C"
);

CREATE TABLE public.master_key (
    digest text NOT NULL COLLATE pg_catalog."C"
);

CREATE TABLE public.nodes (
    node text NOT NULL COLLATE pg_catalog."C",
    life text NOT NULL COLLATE pg_catalog."C",
    beat bigint NOT NULL,
    seen_at bigint NOT NULL
);

CREATE TABLE public.numbers (
    number_key text NOT NULL COLLATE pg_catalog."C",
    tenant_id text NOT NULL COLLATE pg_catalog."C",
    sealed text NOT NULL COLLATE pg_catalog."C",
    mode text NOT NULL COLLATE pg_catalog."C",
    pin_length bigint NOT NULL,
    max_active bigint NOT NULL,
    active bigint DEFAULT 0 NOT NULL,
    held_by text COLLATE pg_catalog."C",
    held_until bigint DEFAULT 0 NOT NULL,
    strangers_left bigint NOT NULL,
    strangers_at bigint NOT NULL,
    created_at bigint NOT NULL,
    quarantined_at bigint,
    CONSTRAINT numbers_mode_check CHECK ((mode = ANY (ARRAY['exclusive'::text, 'shared'::text])))
);

CREATE TABLE public.parties (
    tenant_id text NOT NULL COLLATE pg_catalog."C",
    party_key text NOT NULL COLLATE pg_catalog."C",
    greenpin_id text NOT NULL COLLATE pg_catalog."C"
);

CREATE TABLE public.pins (
    number_key text NOT NULL COLLATE pg_catalog."C",
    pin_key text NOT NULL COLLATE pg_catalog."C",
    greenpin_id text NOT NULL COLLATE pg_catalog."C",
    active_until bigint NOT NULL,
    free_at bigint NOT NULL,
    counted bigint NOT NULL
);

CREATE TABLE public.prompts (
    tenant_id text NOT NULL COLLATE pg_catalog."C",
    name text NOT NULL COLLATE pg_catalog."C",
    audio text NOT NULL COLLATE pg_catalog."C",
    updated_at bigint NOT NULL
);

CREATE TABLE public.schema_version (
    version bigint NOT NULL,
    applied_at bigint NOT NULL
);

CREATE TABLE public.strangers (
    number_key text NOT NULL COLLATE pg_catalog."C",
    caller_key text NOT NULL COLLATE pg_catalog."C",
    wrong_tries bigint NOT NULL,
    refusals bigint NOT NULL,
    refused_until bigint NOT NULL,
    updated_at bigint NOT NULL
);

CREATE TABLE public.tenants (
    tenant_id text NOT NULL COLLATE pg_catalog."C",
    settings text NOT NULL COLLATE pg_catalog."C",
    sealed_key text COLLATE pg_catalog."C",
    created_at bigint NOT NULL,
    suspended_at bigint,
    erased_at bigint
);

CREATE TABLE public.uploads (
    call_sid text NOT NULL COLLATE pg_catalog."C",
    node text NOT NULL COLLATE pg_catalog."C",
    file text NOT NULL COLLATE pg_catalog."C",
    tries bigint DEFAULT 0 NOT NULL,
    due_at bigint NOT NULL
);

CREATE TABLE public.writer_turn (
    version bigint NOT NULL,
    last_event text NOT NULL COLLATE pg_catalog."C",
    turns bigint DEFAULT 0 NOT NULL
);

INSERT INTO public.allocations VALUES ('acme', 'gp_01m8f23ysdf9h7mze9v9tap8n5', 'j_9PQdKz8pCHS1nNXIg6eA', 'Lfjc43xzTEH_1tFzxiB1jqR9xmM2eq_-X2IH5J3mgCgyU1a7KBdtgpn5ME8qALspk0L17Nk2imTTRxC_IaiL', 0, NULL, 3, 0, 0, 0, 1, 1795801873000000, 1795801873000000, 1810489873000000, NULL, NULL);
INSERT INTO public.allocations VALUES ('acme', 'gp_01m8f23yjqs7c71a2d0aw56vse', 'lWKKG9t4JC4yTvO8kQTAHw', 'rSN5mPPUtl2FOmy0hnigTeXpST60cf-tz0MhP7XR5k8_iZL4s3bS488HDk9lNS5ZNXGyopL7OAzvYR9hUt89aZpaU7xGpJBhxnM', 0, 'order_id=1', 3, 1, 0, 1, 4, 1795801872000000, 1795801872000000, 1810489872000000, NULL, NULL);

INSERT INTO public.attempts VALUES ('acme', 'evt_01m8f23yjqy8avb7v7xw0k3rhs', 'ep_01m8f23y3v1dgsw90baajec26k', 1795801872999492, 174, NULL, 'no_connection', 'QMADNjzIUvxgFTJlhp8bOaeb1PSuzkyGS8d6zQ');
INSERT INTO public.attempts VALUES ('acme', 'evt_01m8f23ysdzr61e3f45rmtxc77', 'ep_01m8f23y3v1dgsw90baajec26k', 1795801873297347, 189, NULL, 'no_connection', '9ZFeXO-bfjTH_M3WjR_eO8S6SRZEbp-TY7Mfbg');
INSERT INTO public.attempts VALUES ('acme', 'evt_01m8f23yjqy8avb7v7xw0k3rhs', 'ep_01m8f23y3v1dgsw90baajec26k', 1795801877179532, 195, NULL, 'no_connection', 'qxToZTW9rpfdRnSNnag3juQyDIyF9opG_8C_ww');
INSERT INTO public.attempts VALUES ('acme', 'evt_01m8f23ysdzr61e3f45rmtxc77', 'ep_01m8f23y3v1dgsw90baajec26k', 1795801878382502, 208, NULL, 'no_connection', '-sU_LhoAlUnK1GyYHZ56WyhC39vYmEPtOlCEkg');
INSERT INTO public.attempts VALUES ('acme', 'evt_01m8f23yjqy8avb7v7xw0k3rhs', 'ep_01m8f23y3v1dgsw90baajec26k', 1795801883467923, 220, NULL, 'no_connection', 'W4fU6O8zF7yioH40PJophNCL65WBo4BfowifqA');
INSERT INTO public.attempts VALUES ('acme', 'evt_01m8f23ysdzr61e3f45rmtxc77', 'ep_01m8f23y3v1dgsw90baajec26k', 1795801888047425, 212, NULL, 'no_connection', '5lKRwfEzJT4PZ76Np22U-uUMG7JoKIp7_847LA');

INSERT INTO public.audit VALUES ('aud_01m8f23v56qh5xwp9yf5byf2fm', 1795801869478181, 'command line', 'tenant.create', 'acme', 'AC1', NULL);
INSERT INTO public.audit VALUES ('aud_01m8f23v8qw2j4g991tgh2qc3s', 1795801869591988, 'command line', 'number.add', 'acme', '+…01', NULL);
INSERT INTO public.audit VALUES ('aud_01m8f23vn0zf4t3x66ken64v77', 1795801869984045, 'command line', 'number.add', 'acme', '+…02', NULL);

INSERT INTO public.calls VALUES ('acme', 'call_01m8f23yyznnh12zx7mgbd9nd0', 'lWKKG9t4JC4yTvO8kQTAHw', 'gp_01m8f23yjqs7c71a2d0aw56vse', 'O9DOJ8Hqsj3VYtAkJNc3qA', 'ZI6LYzSnomndyhzPTxB0NydfXKX96UHd6rrXZUY3V5k4TnUs1_Uzqq9R7egdyPqwIlIqMSZ5jw', 'loopback', 'local', 1795801873375085, 1795801873377978, NULL, NULL, NULL, NULL, 1795801890354984, 'call-attempt', NULL, NULL, 'caller', 1, NULL, NULL, '{"codec":"PCMA","srtp":null,"media":"relay","packets_received":28,"packets_lost":0,"packets_late":0,"packets_sent":272,"jitter_ms":0.022003173828125,"mos":4.3781701174767464,"digits":{"pressed":4,"duplicates":0,"rfc4733":4,"info":0,"in_band":0,"lost_packets":0,"lost_ends":0,"end_only":0,"late_packets":0}}', NULL, 0, 'caller_hung_up', 'JQU_IDZb_CrHo3dfCKd0gyeFfCapFsiOYmAWRSzVZ1agqx02taP1_fy93-Ae5MP5cRHHlBpEsvYym0PZ96LJelPcw9G9aYOeRwIRKDj5j9pv8qqzSmW8XhM1DcxvY1g');

INSERT INTO public.credentials VALUES ('AC1', 'acme', '5d318b7d1c14e9ca1a9d733a08cf615c7ca23151395ddf2d6f352e7d52a4f9b4', 1795801869478181, NULL, NULL, 1795801860000000);

INSERT INTO public.deliveries VALUES ('acme', 'evt_01m8f23yyztg6njtsbt2tcbekf', 'ep_01m8f23y3v1dgsw90baajec26k', 'gp_01m8f23yjqs7c71a2d0aw56vse', 2, 'waiting', 0, 1795801873375085, 1795801873375085, NULL, NULL, NULL);
INSERT INTO public.deliveries VALUES ('acme', 'evt_01m8f241fakxq2xnqwv553cq4d', 'ep_01m8f23y3v1dgsw90baajec26k', 'gp_01m8f23yjqs7c71a2d0aw56vse', 3, 'waiting', 0, 1795801875946285, 1795801875946285, NULL, NULL, NULL);
INSERT INTO public.deliveries VALUES ('acme', 'evt_01m8f23yjqy8avb7v7xw0k3rhs', 'ep_01m8f23y3v1dgsw90baajec26k', 'gp_01m8f23yjqs7c71a2d0aw56vse', 1, 'due', 3, 1795801901108144, 1795801872983517, NULL, 1795801872990567, NULL);
INSERT INTO public.deliveries VALUES ('acme', 'evt_01m8f23ysdzr61e3f45rmtxc77', 'ep_01m8f23y3v1dgsw90baajec26k', 'gp_01m8f23ysdf9h7mze9v9tap8n5', 1, 'due', 3, 1795801906637637, 1795801873197052, NULL, 1795801873271261, NULL);
INSERT INTO public.deliveries VALUES ('acme', 'evt_01m8f24fhjbceybv44a4n8kncw', 'ep_01m8f23y3v1dgsw90baajec26k', 'gp_01m8f23yjqs7c71a2d0aw56vse', 4, 'waiting', 0, 1795801890354984, 1795801890354984, NULL, NULL, NULL);

INSERT INTO public.endpoints VALUES ('acme', 'ep_01m8f23y3v1dgsw90baajec26k', 'http://127.0.0.1:9/hook', NULL, 'riUWc2U4jew-PI2QvwJXg6iMO6sllYednuophfRdkZ4SFAFma6mCF6BoGjyuls3rh4MYLhS7oPLLaIeHZcl-kisCjdUXMQq_2Jqy7cT1', 0, 1795801872507795, NULL, 'standard', NULL, 0, 1795801872999667, 6, NULL);

INSERT INTO public.events VALUES ('acme', 'evt_01m8f23yjqy8avb7v7xw0k3rhs', 'gp_01m8f23yjqs7c71a2d0aw56vse', 'allocation.created', 1, 1795801872983517, 'RNu3vmUi2rEKkflcoqIK_zmZ6RH0B_wrUcGG2Ybm8bdtbUPGTYHZ1ebjKCBW9bBE8MNDGar8HTa1dMbrVv3oPkpJnwJ-Uu7k_DVchxys_UhAyYndDDPkcnXZDEr_0H7NjPBnlCoRcmOwtsuZ1HqLZWht28JvTf-ocRcIsPnsJCzsI6Y0Wr3qG4abBtxtnVBmyPhq9t9j4HUU5D4uaKBA65qOHAkGKKhfdecFcUXmAO79_sDIiNszjSpzwhbMw-4pECQiThxiU-O6v3vx3SheGFtUHafuij51QCzQLIzKcDAKJAU-5-XTHgtN5Rra51_TleU9Xz7Ko8B_3YKKzv6t203tW_XMcrXyM0lM0nA7ohycqiKpH2uzEREkZPFw4vyn9scrrLRsl23xTqZHje3jyF1fPdWhwsvMNFelpxBWc_ygJHiJEyj-cGonT8Gs8fh9MjQhgcoY0N6mKE79KVNNU1jkoro_Qtmdu7F_nF3qkX7DUsbTyuedG2P3WoLVoZOXSyyCYRDRYsAb_JPgFLZQI_a-CaEp_L6N2kxcariS7D-KfMqdXOj8dhC16mRb9Egk1DW4-Go_FwQ_OAhe4WdFca-2ZiZZgOvsCTjt3-RiJXPQJyvu5BcM0nJgFg');
INSERT INTO public.events VALUES ('acme', 'evt_01m8f23ysdzr61e3f45rmtxc77', 'gp_01m8f23ysdf9h7mze9v9tap8n5', 'allocation.created', 1, 1795801873197052, 'ReCPAhBocCh5t3taO3YAoZ-RXGqllPOtinkdXKzE2UELrKLZTxbv_O9rasxeBrd_UfPURxDb62dGaaxnkOVl8fvc-pTe7JwmQwy7FdUJdNC-pTWK_F1pK-VWPcGUvF30bTX4I18KtT43TIpC9iMj40cbP9jI2UkbUXtOcWE4oDMhzQCPvdAgxoycsaOXFZtaDZ3deRE8KIJ0cexNB71qSOCDF7qkr-VNpL3jCBVPdA5_B9-9HwlLkd2R8HITm0QZnX4sVHpkdXwXF3AZsywVAykYpMgyARgSdNzbikHdfunYbDW-BEvUbkUmVdz6Xsb8fwQozyIVKoo7wdTEI-8wgQqgfeo7u7XJWvlYb6pr8s9dHcSp56gkBAWQHXtx06eoZhIPVgo-mkcP4OE9FmfYRpW5Xx8VZeW9xbJoC5oM3l55oTs5PJMZlISbXbw12zwJKNldpJWocL991hPzm9RzVTg3haoKzwoZPX7C1GVo55gs9qp2AuQIkLQwdwNOtI5wY0i2RW5Jw2kwLLosZAFkjAEZf5rk4xlEFmJYSp7pC71RfHAwRQ0upvCYshglHsEHDmdVbpfG9ux9F84w0Gt9OgS8Zz4');
INSERT INTO public.events VALUES ('acme', 'evt_01m8f23yyztg6njtsbt2tcbekf', 'gp_01m8f23yjqs7c71a2d0aw56vse', 'call.initiated', 2, 1795801873375085, 'JHdg1xaFBfcazTNb6ok0EdgrGodmuiUhZNPjtrSD9mNp0UF4TzPt27gJxujoI4AD1ZIR8YD29zi5AnfGPLJlvHxf68q5Bbdws7EhI4y47C5Z8akzXd0gemP9Aqcp2QHe3-gZwrBki_7Z8QEzDWEJBMhko0y43viFptWszxBHxOmqCsyozS5y1gPCFkYDy6Dx79wlT_i-agTpBMcu75mn8RKcWHz1PrBNX73m-H7Oi0tXEwerU1OBVDBs108iOBTYiG_dVVYDKxC6J08tmpAOk1TkDoNwrZ-NNEzwj0WDX2WqDcENKWrFszhW4oSQ4LKLlj-JMIs7uR07TAa0iJMapbozWniN0Ye_kXUUYqXThp9UTDqD3IxEb82u-OOCpsa5QiZNy18iS26AVIxbi7YBibQZEr0qoUUWFNowdQVxXfJY5FXtqQ9Fs3yoPQz62s4s2Ccjq-RO4DDP68fwaI4cQesc0ylbCg2YSsjwOLsqQX5m6QO1hHog7bRqJVeg0z8zAr1zND82OaoohGyNZx1iIvVY4qUzaO-wV8DoAM-HIPvbmJOba6nYhWkCmTUoQkH7N_ZnSW1nQJmedNixbLrazbA723oFlo0m5uHSJqMx6RzdNnTXXheF6gTRchHEX7jRm9RLOe-EJpWZjnpwRhC_Zyn1Q-hHIFGKj_UOKXUK970lZtEr0FeaOWvh8NCxej3GpLmtU2v_CRLNtCIFjVvzaPiQMmm2ETOuJAjPoPaJS0pBY8kP-G7ctN-xDhQDPupI16UGQHI7u1OyLKA68pi0lZK-ndXmkRXipLajPxwvis6DRWzQjOFedO69');
INSERT INTO public.events VALUES ('acme', 'evt_01m8f241fakxq2xnqwv553cq4d', 'gp_01m8f23yjqs7c71a2d0aw56vse', 'call.pin_failed', 3, 1795801875946285, 'LO7EgkLkOBFyNATbhQ9VfsHFXf2BcE0qM4fRA7acKFvQNCsdChCjuqptrCXWmdSB4J3kJ9844V24iz1xUD_h_eKlPhQIS3ZBkk5Cr9Jwlxrr4bZqaevpxGLK-ualVXBfOvnGuwyEDj4ICsfTXbdbxRvDIlXej_glVAmgUc2ByXR-HAkChXVMGrryL6A_WMHDShA3yND7kpIeJiOEpj5uHXf6txy_uUzToY1fiMm0b1PAJdTTjsTqpcEJ1PGUllD9uL8_71TYp1ufZc5TOl5Y4bBaYWxJOm37apVyZJ6gf96FBp2TDSaHFqD87J08SDc5w2Jar8CIP4y8pADZ76ipHMq-KJjQloThFjK7QAfzDGNCpIoBGkcC0Q-2JYM0iojsmfuiMtUSqjqfbwYrWfMHzQQTOBDgL_NLPF_TMs_q1j-AMo_G9CEfi2RwtGpOZH1dbR95VjMenqxFQWQghbFFabsdKnc-joriIgv0AsP0Le43vFRLIiVXy6ZvhDxvt77sTMknrS4jtdKxYeJZNMiUAyeFgR5vE3KGG83NhBYYEPCMQPCHAX8xFZK0LQkEgHFqKulMqJYGNM6mb0gO7LDUu8TC4t3Zt3e_HlJ4oFg5OBeea8SjwQWiMrcCF_qxVb4a_ABCtqr3kuKYMWWGPswAxKw9HnL90uvbrMck0ewIFvLTdkz15DM8iSu_VF95KxOcfIQMqkYoFU3skC9p01N8LUoPDUmJwLP95RiTzN6M7Ic-Y0BIIAWqb0R4r5kbhqfJB1eGXS6Tijh0_gdOIZR0-1Q3MxsaafObJ9uqCbBRLKEoTGV2KZ-e3l7cz_pboUmLsuJlP8xY_GbPhLMjMoYY9A');
INSERT INTO public.events VALUES ('acme', 'evt_01m8f24fhjbceybv44a4n8kncw', 'gp_01m8f23yjqs7c71a2d0aw56vse', 'call.completed', 4, 1795801890354984, 'DcziCYAIs7Se0JTDHaBQO-kD6d4rUBnnfJj-R3aBAbATlIYIo0cDqsA7T0k6yFquN4uuU9qysLqxTbfZeYpIBwq9HNWfQ3ZjDguwV1MkULx_2jKif5QjEEX2fM690QRIkTY4S-go1_VRXHiCAFU2NwFGorcGr0kyDGIJJRQ3qrritN3GpNPiDRCOsMqS6yOGv7JAPuU5KgroEecWYTaXqxxuUj3nl3-EMXZ-lWd4gl4nCvJGGbpOSg7vw_AsCuulLfJiIw_0ohO5mVOnFA-FXkUKxILC2jvuJWsSJKZnhxTuN5awmgZiaxjBfM72dn-VN3DogYEomSoXZWRaFFGliCSNw9b13axWihsnXl5p3hnKNIaWED4414A_vCsWlHsQRoSIBDnF8L8viYHYJiBiUvAGS8RDHWKcV_BlHUSwXvRX_u4guqJk2bDNUf6TnHIB9w7-J8J2wJxitABb6MAxVCnx2F0isd2pR4LGKufBZ52fiRtb0AHWjNN8lEM63PbVqHV1WTgXSZOnXF9NuWIJKeiQupJo6Q313UsadBIOVyh3cOwJrn-5B0ns5yK04BPqbIhVH_-fhR7GZBsJhMRrpV6IhwKzOpIcSGYb9zpyJJno3SbeFc0MjyJregkktb__kH8vIuQkOfRLqiGwrs0rC4OdpQOxq5OJ7LfCxuWAuNzNHqXgCwKVpfk3_mlIgMSoa3D4QWF5zyd1-pzQPKESF9BUk19IzfmxkVIU7fxYdn7OI2IahHaPSttgPo-fOBx1DshN6TYmtM_YunTJW1uEfXCFn8qkEYkGMuutr0qZo7hQ2pc-_IerkZRBPeJW2hQ45_Aup8o');

INSERT INTO public.idempotency_keys VALUES ('acme', '4038d57757a415fc72aec2f605a8ddef2afb874c116cb5da6674d6772ce41d99', '3e292ca9a14e547d5b4d2de248ef2e8e4e2be332f273d24eb672dcf1d99d624d', 1795801872982351, 201, 'application/json', 'sfFfrpup5HEldtrZAOUvkpj809wW8hPfL_-pGFCbGlPR-YSixkVGKzGH34gAzkRHu_OgE9cTIrbDHNNdwPLsrG0ZmVvGMsdkUeExFgyRIykfvvW5IBuY_jAHzQdjvrCkw7CXt6HaWoofLXywvP-EfRoscsyG3A8Bn1Q6IolIUgFYq2cp7d7r7LOUjHzjceIZBDbHvNDPi0qLgG-JYYe5cNubSW48j_zsi-I7xinLTekqSjJmrfUMP6tutRgKaSvIwBCOJrubs1UADwgsZwIYYOPxetQHKxCHvYhSXKDVDmqBaqFTznHDV4ozQgdbny9VO2bbDi8oqj4pf8CLfJ9lb4HNy5uXYHiXYuEb-zdkhJSPyIUjIqRad80XxaqCzSHBb0BB_4TlLewNMohRG-NXHRIHgu46oaa4Iup6kNnBfIEEwCr-7YntMMShpiaPjovRqTNp_1mExT63B791f31-yvbnSU_w7gutGLuJH7EaMucyzitL-XZZUhk8ByBj12V3Azb5gUeXsB-TF9vLOfY', 'gp_01m8f23yjqs7c71a2d0aw56vse');

INSERT INTO public.listed_callers VALUES ('j_9PQdKz8pCHS1nNXIg6eA', 'pNc2jq7rzJMYXpP39j267Q', 'gp_01m8f23ysdf9h7mze9v9tap8n5', 'acme');

INSERT INTO public.master_key VALUES ('6nz792YZDpkBjrF_Dwzr6Q');

INSERT INTO public.numbers VALUES ('lWKKG9t4JC4yTvO8kQTAHw', 'acme', 'wKAu2cq9ImXTg93GywTP1i5FgslPbr4RiRq4vkaurLSwvRCvT14pYA4', 'exclusive', 4, 1, 0, 'gp_01m8f23yjqs7c71a2d0aw56vse', 1810489872000000, 20, 1795801869591988, 1795801869591988, NULL);
INSERT INTO public.numbers VALUES ('j_9PQdKz8pCHS1nNXIg6eA', 'acme', 'AK8ZZF3PGaB39ZVDFQm0_wkK0oeiT8XU7ly00vU29ls--jKT2MXoJvI', 'shared', 6, 200, 1, NULL, 0, 20, 1795801869984045, 1795801869984045, NULL);

INSERT INTO public.parties VALUES ('acme', 'pNc2jq7rzJMYXpP39j267Q', 'gp_01m8f23yjqs7c71a2d0aw56vse');
INSERT INTO public.parties VALUES ('acme', 'O9DOJ8Hqsj3VYtAkJNc3qA', 'gp_01m8f23yjqs7c71a2d0aw56vse');
INSERT INTO public.parties VALUES ('acme', 'pNc2jq7rzJMYXpP39j267Q', 'gp_01m8f23ysdf9h7mze9v9tap8n5');

INSERT INTO public.pins VALUES ('lWKKG9t4JC4yTvO8kQTAHw', 'IkIpWkH4iU9hFsEN614lFQ', 'gp_01m8f23yjqs7c71a2d0aw56vse', 1810489872000000, 1810493472000000, 0);
INSERT INTO public.pins VALUES ('j_9PQdKz8pCHS1nNXIg6eA', '2sN1JR6h5Ad4YQSPsWfzYA', 'gp_01m8f23ysdf9h7mze9v9tap8n5', 1810489873000000, 1810493473000000, 1);

INSERT INTO public.schema_version VALUES (101, 1795801869442167);
INSERT INTO public.schema_version VALUES (102, 1795801869445151);
INSERT INTO public.schema_version VALUES (103, 1795801869449919);
INSERT INTO public.schema_version VALUES (104, 1795801869451661);
INSERT INTO public.schema_version VALUES (105, 1795801869453564);
INSERT INTO public.schema_version VALUES (106, 1795801869454454);
INSERT INTO public.schema_version VALUES (107, 1795801869460103);
INSERT INTO public.schema_version VALUES (108, 1795801869460250);
INSERT INTO public.schema_version VALUES (109, 1795801869462364);
INSERT INTO public.schema_version VALUES (110, 1795801869462564);
INSERT INTO public.schema_version VALUES (111, 1795801869462876);
INSERT INTO public.schema_version VALUES (112, 1795801869463022);
INSERT INTO public.schema_version VALUES (113, 1795801869465360);

INSERT INTO public.tenants VALUES ('acme', '{"timezone":"UTC","country":null,"min_duration":300,"max_duration":14688000,"pin_cooloff":3600,"caller_policy":"any","dial_strategy":"sequential","ring_timeout":30,"max_call_duration":3600,"accept_call":"answer","whisper":false,"warning_tone":0,"record_announcement":false,"prompts":{"language":"en"},"rate_limit":null,"call_limit":null,"retention":{"calls":null,"recordings":null,"ended_allocations":null},"destinations":{"allow":[],"deny":[],"max_calls_per_country_hour":null}}', 'Z5yrhT6pahQfJDtoVdHEKhKEzo4GovQ0QeyXIA4YU6qMu7XLxz-i9p2q7IWaZ1Z-eeMP-lG_9yGti53Cj958O1oVYXPP1c0', 1795801869478181, NULL, NULL);

INSERT INTO public.writer_turn VALUES (2, '2170991272162140170603351671940175260', 85);

ALTER TABLE ONLY public.allocations
    ADD CONSTRAINT allocations_pkey PRIMARY KEY (tenant_id, greenpin_id);

ALTER TABLE ONLY public.attempts
    ADD CONSTRAINT attempts_pkey PRIMARY KEY (tenant_id, event_id, endpoint_id, begun_at);

ALTER TABLE ONLY public.audit
    ADD CONSTRAINT audit_pkey PRIMARY KEY (audit_id);

ALTER TABLE ONLY public.calls
    ADD CONSTRAINT calls_pkey PRIMARY KEY (tenant_id, call_sid);

ALTER TABLE ONLY public.credentials
    ADD CONSTRAINT credentials_pkey PRIMARY KEY (account_sid);

ALTER TABLE ONLY public.deliveries
    ADD CONSTRAINT deliveries_pkey PRIMARY KEY (tenant_id, event_id, endpoint_id);

ALTER TABLE ONLY public.endpoints
    ADD CONSTRAINT endpoints_pkey PRIMARY KEY (tenant_id, endpoint_id);

ALTER TABLE ONLY public.erasures
    ADD CONSTRAINT erasures_pkey PRIMARY KEY (tenant_id);

ALTER TABLE ONLY public.events
    ADD CONSTRAINT events_pkey PRIMARY KEY (tenant_id, event_id);

ALTER TABLE ONLY public.idempotency_keys
    ADD CONSTRAINT idempotency_keys_pkey PRIMARY KEY (tenant_id, key_digest);

ALTER TABLE ONLY public.listed_callers
    ADD CONSTRAINT listed_callers_pkey PRIMARY KEY (number_key, caller_key, greenpin_id);

ALTER TABLE ONLY public.master_key
    ADD CONSTRAINT master_key_pkey PRIMARY KEY (digest);

ALTER TABLE ONLY public.nodes
    ADD CONSTRAINT nodes_pkey PRIMARY KEY (node);

ALTER TABLE ONLY public.numbers
    ADD CONSTRAINT numbers_pkey PRIMARY KEY (number_key);

ALTER TABLE ONLY public.parties
    ADD CONSTRAINT parties_pkey PRIMARY KEY (tenant_id, party_key, greenpin_id);

ALTER TABLE ONLY public.pins
    ADD CONSTRAINT pins_pkey PRIMARY KEY (number_key, pin_key);

ALTER TABLE ONLY public.prompts
    ADD CONSTRAINT prompts_pkey PRIMARY KEY (tenant_id, name);

ALTER TABLE ONLY public.strangers
    ADD CONSTRAINT strangers_pkey PRIMARY KEY (number_key, caller_key);

ALTER TABLE ONLY public.tenants
    ADD CONSTRAINT tenants_pkey PRIMARY KEY (tenant_id);

ALTER TABLE ONLY public.uploads
    ADD CONSTRAINT uploads_pkey PRIMARY KEY (call_sid);

CREATE INDEX allocations_deleted ON public.allocations USING btree (tenant_id, deleted_at) WHERE (deleted_at IS NOT NULL);

CREATE INDEX allocations_expired ON public.allocations USING btree (tenant_id, expires_at) WHERE (expiry_reported_at IS NOT NULL);

CREATE INDEX allocations_of_number ON public.allocations USING btree (tenant_id, number_key, greenpin_id);

CREATE INDEX allocations_to_expire ON public.allocations USING btree (expires_at) WHERE ((deleted_at IS NULL) AND (expiry_reported_at IS NULL));

CREATE INDEX attempts_by_age ON public.attempts USING btree (begun_at);

CREATE UNIQUE INDEX calls_by_sid ON public.calls USING btree (call_sid);

CREATE INDEX calls_of_allocation ON public.calls USING btree (tenant_id, greenpin_id, call_sid);

CREATE INDEX calls_open ON public.calls USING btree (node) WHERE (ended_at IS NULL);

CREATE INDEX calls_with_recording ON public.calls USING btree (tenant_id, call_sid) WHERE (recording_file IS NOT NULL);

CREATE INDEX credentials_of_tenant ON public.credentials USING btree (tenant_id);

CREATE INDEX deliveries_dead ON public.deliveries USING btree (tenant_id, event_id) WHERE (state = 'failed'::text);

CREATE INDEX deliveries_due ON public.deliveries USING btree (endpoint_id, due_at) WHERE (state = 'due'::text);

CREATE INDEX deliveries_open ON public.deliveries USING btree (endpoint_id, queue, sequence) WHERE (state = ANY (ARRAY['waiting'::text, 'due'::text]));

CREATE UNIQUE INDEX endpoints_by_id ON public.endpoints USING btree (endpoint_id);

CREATE INDEX idempotency_keys_by_age ON public.idempotency_keys USING btree (taken_at);

CREATE INDEX numbers_of_tenant ON public.numbers USING btree (tenant_id, number_key);

CREATE INDEX pins_counted ON public.pins USING btree (number_key, active_until, greenpin_id) WHERE (counted = 1);

CREATE INDEX strangers_by_age ON public.strangers USING btree (updated_at);

CREATE INDEX uploads_due ON public.uploads USING btree (node, due_at);

ALTER TABLE ONLY public.attempts
    ADD CONSTRAINT attempts_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES public.tenants(tenant_id);

ALTER TABLE ONLY public.calls
    ADD CONSTRAINT calls_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES public.tenants(tenant_id);

ALTER TABLE ONLY public.credentials
    ADD CONSTRAINT credentials_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES public.tenants(tenant_id);

ALTER TABLE ONLY public.endpoints
    ADD CONSTRAINT endpoints_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES public.tenants(tenant_id);

ALTER TABLE ONLY public.erasures
    ADD CONSTRAINT erasures_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES public.tenants(tenant_id);

ALTER TABLE ONLY public.idempotency_keys
    ADD CONSTRAINT idempotency_keys_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES public.tenants(tenant_id);

ALTER TABLE ONLY public.numbers
    ADD CONSTRAINT numbers_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES public.tenants(tenant_id);

ALTER TABLE ONLY public.prompts
    ADD CONSTRAINT prompts_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES public.tenants(tenant_id);

