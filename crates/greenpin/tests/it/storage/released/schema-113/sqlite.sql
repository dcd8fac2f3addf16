PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE schema_version (version BIGINT NOT NULL, applied_at BIGINT NOT NULL);
INSERT INTO schema_version VALUES(101,1795801769855223);
INSERT INTO schema_version VALUES(102,1795801769855865);
INSERT INTO schema_version VALUES(103,1795801769855947);
INSERT INTO schema_version VALUES(104,1795801769856022);
INSERT INTO schema_version VALUES(105,1795801769856045);
INSERT INTO schema_version VALUES(106,1795801769856066);
INSERT INTO schema_version VALUES(107,1795801769857250);
INSERT INTO schema_version VALUES(108,1795801769857381);
INSERT INTO schema_version VALUES(109,1795801769857424);
INSERT INTO schema_version VALUES(110,1795801769857427);
INSERT INTO schema_version VALUES(111,1795801769857429);
INSERT INTO schema_version VALUES(112,1795801769857575);
INSERT INTO schema_version VALUES(113,1795801769857854);
CREATE TABLE master_key (
    digest TEXT PRIMARY KEY
);
INSERT INTO master_key VALUES('6nz792YZDpkBjrF_Dwzr6Q');
CREATE TABLE tenants (
    tenant_id TEXT PRIMARY KEY,
    settings TEXT NOT NULL,
    sealed_key TEXT,
    created_at BIGINT NOT NULL
, suspended_at BIGINT, erased_at BIGINT);
INSERT INTO tenants VALUES('acme','{"timezone":"UTC","country":null,"min_duration":300,"max_duration":14688000,"pin_cooloff":3600,"caller_policy":"any","dial_strategy":"sequential","ring_timeout":30,"max_call_duration":3600,"accept_call":"answer","whisper":false,"warning_tone":0,"record_announcement":false,"prompts":{"language":"en"},"rate_limit":null,"call_limit":null,"retention":{"calls":null,"recordings":null,"ended_allocations":null},"destinations":{"allow":[],"deny":[],"max_calls_per_country_hour":null}}','7ICECvwwYK6KxQtBcl76vb7u7ksi3ggL6fxGYU_2jwWHTFYFPQcyOt65wNFUiqkGI2Xza6TOKGxVrm3HtAlTSTJdRlLb_ew',1795801769872447,NULL,NULL);
CREATE TABLE credentials (
    account_sid TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL REFERENCES tenants (tenant_id),
    digest TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    revoked_at BIGINT
, label TEXT, last_used_at BIGINT);
INSERT INTO credentials VALUES('AC1','acme','5d318b7d1c14e9ca1a9d733a08cf615c7ca23151395ddf2d6f352e7d52a4f9b4',1795801769872447,NULL,NULL,1795801740000000);
CREATE TABLE numbers (
    number_key TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL REFERENCES tenants (tenant_id),
    sealed TEXT NOT NULL,
    mode TEXT NOT NULL CHECK (mode IN ('exclusive', 'shared')),
    pin_length BIGINT NOT NULL,
    max_active BIGINT NOT NULL,
    active BIGINT NOT NULL DEFAULT 0,
    held_by TEXT,
    held_until BIGINT NOT NULL DEFAULT 0,
    strangers_left BIGINT NOT NULL,
    strangers_at BIGINT NOT NULL,
    created_at BIGINT NOT NULL
, quarantined_at BIGINT);
INSERT INTO numbers VALUES('lWKKG9t4JC4yTvO8kQTAHw','acme','c6jIg08BuNXg1_buUGHXb3DX3y7K3l5NZB_tou3NvYXRTZI7Po4mVSw','exclusive',4,1,0,'gp_01m8f20tknfa9kbk3hcm1nsdeb',1810489770000000,20,1795801769882794,1795801769882794,NULL);
INSERT INTO numbers VALUES('j_9PQdKz8pCHS1nNXIg6eA','acme','6rjYf5A9YR6wobPiCW6FFho7yYGlJbbZV22dJbUq3Iqfg9yn1N-9Qek','shared',6,200,1,NULL,0,20,1795801770149975,1795801770149975,NULL);
CREATE TABLE allocations (
    tenant_id TEXT NOT NULL REFERENCES tenants (tenant_id),
    greenpin_id TEXT NOT NULL,
    number_key TEXT NOT NULL,
    sealed TEXT NOT NULL,
    record BIGINT NOT NULL,
    custom_field TEXT,
    max_pin_attempts BIGINT NOT NULL,
    failed_pin_attempts BIGINT NOT NULL DEFAULT 0,
    call_count BIGINT NOT NULL DEFAULT 0,
    attempt_count BIGINT NOT NULL DEFAULT 0,
    sequence BIGINT NOT NULL DEFAULT 0,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    deleted_at BIGINT,
    expiry_reported_at BIGINT,
    PRIMARY KEY (tenant_id, greenpin_id)
) WITHOUT ROWID;
INSERT INTO allocations VALUES('acme','gp_01m8f20tknfa9kbk3hcm1nsdeb','lWKKG9t4JC4yTvO8kQTAHw','DzsP2lZwmUutmCMLcktkGonbT0KHDAShCob_qTtbhyBfhUndqyzePsgduAaH3Xbwen2oN9CdL_4NG-V0GP0kZx-cl4H4sSWEYeY',0,'order_id=1',3,1,0,1,4,1795801770000000,1795801770000000,1810489770000000,NULL,NULL);
INSERT INTO allocations VALUES('acme','gp_01m8f20tmtg4ytyd4wrs2f98k1','j_9PQdKz8pCHS1nNXIg6eA','i18xDngZ93jfxRvG8WXp96m0a1cwAPWSNjfCCQ_gO4pnzHkPuZ1MglyLxxu2m0GIlJkikdw6SiIwSOFX9kXz',0,NULL,3,0,0,0,1,1795801770000000,1795801770000000,1810489770000000,NULL,NULL);
CREATE TABLE pins (
    number_key TEXT NOT NULL,
    pin_key TEXT NOT NULL,
    greenpin_id TEXT NOT NULL,
    active_until BIGINT NOT NULL,
    free_at BIGINT NOT NULL,
    counted BIGINT NOT NULL,
    PRIMARY KEY (number_key, pin_key)
) WITHOUT ROWID;
INSERT INTO pins VALUES('j_9PQdKz8pCHS1nNXIg6eA','fDKbWcikreJ91GoX38Wifw','gp_01m8f20tmtg4ytyd4wrs2f98k1',1810489770000000,1810493370000000,1);
INSERT INTO pins VALUES('lWKKG9t4JC4yTvO8kQTAHw','SvUB4jlFbwIIWqoHs56Tww','gp_01m8f20tknfa9kbk3hcm1nsdeb',1810489770000000,1810493370000000,0);
CREATE TABLE parties (
    tenant_id TEXT NOT NULL,
    party_key TEXT NOT NULL,
    greenpin_id TEXT NOT NULL,
    PRIMARY KEY (tenant_id, party_key, greenpin_id)
) WITHOUT ROWID;
INSERT INTO parties VALUES('acme','0aH7bfjcdW-kbklb1OhTDA','gp_01m8f20tknfa9kbk3hcm1nsdeb');
INSERT INTO parties VALUES('acme','UCEhd2V8hfG1nBmNgxu_TQ','gp_01m8f20tknfa9kbk3hcm1nsdeb');
INSERT INTO parties VALUES('acme','UCEhd2V8hfG1nBmNgxu_TQ','gp_01m8f20tmtg4ytyd4wrs2f98k1');
CREATE TABLE listed_callers (
    number_key TEXT NOT NULL,
    caller_key TEXT NOT NULL,
    greenpin_id TEXT NOT NULL,
    tenant_id TEXT NOT NULL,
    PRIMARY KEY (number_key, caller_key, greenpin_id)
) WITHOUT ROWID;
INSERT INTO listed_callers VALUES('j_9PQdKz8pCHS1nNXIg6eA','UCEhd2V8hfG1nBmNgxu_TQ','gp_01m8f20tmtg4ytyd4wrs2f98k1','acme');
CREATE TABLE strangers (
    number_key TEXT NOT NULL,
    caller_key TEXT NOT NULL,
    wrong_tries BIGINT NOT NULL,
    refusals BIGINT NOT NULL,
    refused_until BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (number_key, caller_key)
);
CREATE TABLE calls (
    tenant_id TEXT NOT NULL REFERENCES tenants (tenant_id),
    call_sid TEXT NOT NULL,
    number_key TEXT NOT NULL,
    greenpin_id TEXT,
    caller_key TEXT,
    sealed TEXT NOT NULL,
    trunk TEXT NOT NULL,
    node TEXT NOT NULL,
    started_at BIGINT NOT NULL,
    answered_at BIGINT,
    dialled_key TEXT,
    sealed_dialled TEXT,
    dialled_at BIGINT,
    bridged_at BIGINT,
    ended_at BIGINT,
    call_type TEXT,
    dial_call_status TEXT,
    sip_cause BIGINT,
    hangup_by TEXT,
    pin_attempts BIGINT NOT NULL DEFAULT 0,
    recording_file TEXT,
    recording_ms BIGINT,
    caller_media TEXT,
    callee_media TEXT, caller_withheld BIGINT NOT NULL DEFAULT 0, cause TEXT, sealed_legs TEXT,
    PRIMARY KEY (tenant_id, call_sid)
);
INSERT INTO calls VALUES('acme','call_01m8f20tv45vygap850fs35fgq','lWKKG9t4JC4yTvO8kQTAHw','gp_01m8f20tknfa9kbk3hcm1nsdeb','0aH7bfjcdW-kbklb1OhTDA','6ZzFlwipgP0ikorul6AG2DOxLt0qyPi2MDeqRDbsZxeDUhRU_yoU6-EQELX3PKCaeRsogCQlJQ','loopback','local',1795801770852380,1795801770854531,NULL,NULL,NULL,NULL,1795801788302607,'call-attempt',NULL,NULL,'caller',1,NULL,NULL,'{"codec":"PCMA","srtp":null,"media":"relay","packets_received":28,"packets_lost":0,"packets_late":0,"packets_sent":272,"jitter_ms":0.014190673828125,"mos":4.379638125170037,"digits":{"pressed":4,"duplicates":0,"rfc4733":4,"info":0,"in_band":0,"lost_packets":0,"lost_ends":0,"end_only":0,"late_packets":0}}',NULL,0,'caller_hung_up','TajuYJJgiHcA2LZcpU52ZufLp_DKTHs1xa27Vxvkn0q8RTzpSMUtadSMq_olvA7cnwjPk-AhTLQdnNIQBYCGnoN7QYE8CTgs7gQbO3pMckMtoKrNFkN0I_0D87b5rv4');
CREATE TABLE events (
    tenant_id TEXT NOT NULL REFERENCES tenants (tenant_id),
    event_id TEXT NOT NULL,
    greenpin_id TEXT,
    type TEXT NOT NULL,
    sequence BIGINT NOT NULL,
    occurred_at BIGINT NOT NULL,
    sealed TEXT NOT NULL,
    PRIMARY KEY (tenant_id, event_id)
);
INSERT INTO events VALUES('acme','evt_01m8f20tkn1rxhgttn3gxmcav7','gp_01m8f20tknfa9kbk3hcm1nsdeb','allocation.created',1,1795801770613758,'rhBJUXa0y-qE1EhUmzo0aBeCDxjYDzuDhwPKp9u4GaKhOtaHyDZ8kI76MeqwWF4p-EUUKMDYf1LWJHDBA6zgnFpqtPWce74hFY6BX8pPROPREts_95jIr0Z3MI5vUaKHn8xqJ5fDpa5M2_yOT62oqVPP9VIMoUA4f7r3Rg35hoGLfsvTJkrJciZ2FREJ37cWQ9-IHNow38qPTw5OssiE0Pb5mbIPQntAORySQMsmQIla9k-QH7EQKYnjU4G-4UyUry69FMvCLqhA1dtd5V743hRQIYL-TgGVw2NuqoEkPazTRlDui307TZ0H6swCsT7qtxL_dsa4E9scSBpQDwsGC0QP0KE8YgII8b1zbhN2fy8xEEebJO0e3pVo0MizGFpNaAQX_osswBK2D6piPYHE5DI6Qa1e8ei-8Pl3RXGYK0l93IQtqzR0MDOedY2OThN7u2IB7rE_-_YExhA3wWPvejbmrrNrvG_dN1RXXUhmh2tZpyXYZ0hWcpaB7UQzDe7dPgc8N8s22zh3WRUAY2I7jL_pgLkgCd3OIfLqDgRAQ-A5xlhFGqjEmCj5GED5EN2PpxBwbhSG-lWNGaqRJ0ZkzBuIHZ7QcuZMHfJkQewMz3sCOReY_1WNTD5hBQ');
INSERT INTO events VALUES('acme','evt_01m8f20tmtpw2x2bqwxy229f2e','gp_01m8f20tmtg4ytyd4wrs2f98k1','allocation.created',1,1795801770650871,'VLs_Dgpisjo-XjAgol2s65fGobbo804iNmvrWREzp9uB1Ra6uOxNHVq7lsleOWOGsQiYNOvuhbu4trCTLF1S0muiYe85Zf0OFpVRJeTVQDyo_Ni_3xNTVaezFYWppVA4vBqvuPBuGpPR-d-ywfAAjj3hV4Xs_bZl6Fdbad0zKrQBcyghspwR6zKxr97fMzETmarWjXdYSpT9T7QrotXgItoYNvNdjwyl9pvaML0BbXoXBnV_fIDbGdTkV6KNpsOW4M-kEa__wD5_W4FK6_ixIZWcXmIhzcI90VXBeUOI0N2CaP9XiId5HQO9WIXMj6HFLhiJiyi_LiC9Ucr5RFJVt69VJUyQ3kPSrJyrP4KEPB51zfULTPzSia-hbKb_dFtg3_YjLjwHnU5Zs_Zv2NXaubvFdF4KY8Ff-gXmDiac908xIKfB5anMk_m1E_1-FHluEjBNaN71_q1O_n7HEBtD8cXG1Cf0ZBzok0s4M9d6_H-bz15IWKLlHXlN68H02ZP41LB6eLmyMvO_d_q7Sb1IZXrhl0Dfelq4tqN8ARpJizxcmdD3MTJL2JYvz3I4KmlAdUlq5Kadfy3RIvdjrU-G8Kkj0NE');
INSERT INTO events VALUES('acme','evt_01m8f20tv4k32mckr0hq962jwq','gp_01m8f20tknfa9kbk3hcm1nsdeb','call.initiated',2,1795801770852380,'HA7X7TU9yLh48Kanc_rY4PFoH8Xyt_piU8j6B-nl2MGOw3_QctrjVddqHlGt1ZQ271BWok4AQ54uYTNAAOiZhwgzDSE5TDRudtRTgPusEGlTAXBfyc2KOBtPgGk0QzFLFGpiMZ7mf4tC2gdPZoGlpCs864EJfqB9fhASuIXh_0FnHpLDJOPmSI3RuXQvDfO2b9ZEpbboQ54yXS5aZipLYVAaEBxoDJ-CFOTLB2FYj8zep__jpxaWvNd7YlGcFNrBzLghYq1h8VOc9kpTnucP8QLoPkOdf5fUQrR8z7kEN_7y9c_CldGPDZv5B8UKWbKl1U6SU5GBkHhGyLJlIWShrKH2sn2QP_mLnnY8yEFZYVFun8gEHh2azMDFlUMrSYHMeau2WUQvtyQlxPrQ3ppY_f2SnwgLJ_UsS4maGvb6XmgI4iX1inB69CObwuyrWvmfApVgavHnGfyVHqfXYWBOhpifrIJEg55Drsa8jxcl4B1ozWClV19_zisEd3GVrBDokd7FqG8hyg8wYcKPh4qHSZBnZFToLXhBdVRoA8Xdodp8O6M7K-95FJ1Ve8LW9MZrpH6Akq2Bej-SuYsbTolGzonvWL-sG1a8fDnJKKHrlxw_tvmslBcsaH2QCpHqkD9uh83_6peY8aDa8kKufEJG4ejAaFfpNNybU1dxcZkJqb_5Zc33XslE2-0pH-E3leV91WM11FQzTyhlKSHb6FvaPD6i9vK094zJQKueecl_nc_8YnoITmURWQckLoVr7Fj7gcoftzIMibCh6IPt5euF8Eg2ndvZqEtstCs64xno60k_kHLy3LGltHwS');
INSERT INTO events VALUES('acme','evt_01m8f20xfeha60c1bs8rr5jtss','gp_01m8f20tknfa9kbk3hcm1nsdeb','call.pin_failed',3,1795801773550307,'9BDuCJ7ict4zWuQAvLRmiHjV4sixQXYyHk74nUr3t2k42xwyZPImDNXrMDZIXSBazLFWUrdUTIFmFyzxhP5NO5tkEH4aDfWKy8fAnJHCd7trNHkXXsWOwuEcZ6NeGDPq0PwkWJ3cSKoyCU3x5_16fR8HlZd-dU4zqzmM3j24lNMFIqNWPKT8PL_xZ-lTCnFUy9H_bGA2288kzb8WO2hpjyS69GsleCBctAFm6FleVMgRkLOimI8NI9aHxbJCMyYOQ8RaWbsYUAn9e0zjEyeI19CN0bZbCcvSweHHKGFc4r02qP52mFXfdndCAURffuOQtejWCTb5YWEBrClc3So46fzAwE94eTC_pmyY7wDTLVD7_IkK8aBhaDphgwP1EWyASAkXsE6HvySIJRvWGABBbvALqhO_2H1-vQwiLDvOvwMJtGoTx4PEDSmOwfBX09xRSBkKP9MIw3aZP_kx5D0QMKzsa7U41Lo9378EBoiP6L7M3MJuP8ONEGowLeBSQk7Sgoq9SVMxeLN8wf9KPt4XZU4pQn9Io4_i_dmIa3-nV6m_xvnoeRDT9zv-RbF858D3in7E4y_IhxkvhNTXHJz7bUHdxMNr8LGQNlTSLiAoYyyE8YbKXmC3dn0TVSAmLUzxwmGWPFHp4pQCK6EhR_29kcuAxeMiXG7NwpjZtS56GtvYPgaSLzoBEgOf0w4bIVb4g5QrtEzIKoGben6BgcpmxdIMeer94nev37jwO8KNUScO6aPvR2IMsttpc-xwjfPsIJzfh5qtemEce1WlHDASi7WIAYqWZmVgj_BUS-yhz0Cv0lVDm5buTbwsrOlm-Y9UrcrQvWWNM59Sx4780S3Mxg');
INSERT INTO events VALUES('acme','evt_01m8f21bwe0wbttzyh95kyb8j5','gp_01m8f20tknfa9kbk3hcm1nsdeb','call.completed',4,1795801788302607,'Im1W4SGWuVuKjLOrEAbjRqfaTd2In-0eQ04jEAVEIJHGPmfJHf0exvYziyLjPsM1-BLgaM8uowyeKl188dqxR6xMHLWa8W6IniE7_sft4pxxTDoU1aK8R1lgUN4-zpicOXP13QiR_cpwoZ2I-UmbpAiJFJBRt7o-cJRdl5XQbg3mflyP0xqIy4roA21Q5PM79H2Y_jMCSH6wPrpx5ykvw_MgeqU73Q-VB_Q_2IxtVubRKcOrTOaxLDl5MjTzK6mVza08X2hT7K0Gis7vJcvXsXQtbZRVQTpL5VQuKDHfOjJdZdxgv6Xkj9OmqlCkWRMxUuirwGb2XQRM33XjRtLnyLWislfyk_xN41OB9cWPLn00rIBwim9A9lmbR-FvlHclYAJc-_aF3lRiVVikczUI5iu7oTUwvYXa6j7sHr2IeuSjrtNYi1a2452Czu3d0yDn-mG4PhlSmf82qFsYN4KMXDKeGgFdhKAC-_3OZZVE2rcEXFPBZe_u1P7YU4u-BPz-XfWnPv1Lx8xL8DwSPip5wLMJWtnJbsUwy1SVgHUaGwIUTjaW9_HoCq53Gx1SO1ihnm9fpavdLb_soAdoTxH5j287xVmrWhvwEfZdEDThCeURVkAcuNCEgEcmDqc293zj0Lq-6HXNJlOKejsORW2SdWUMxXHn7vZBkY25AgiQMfDEMDoXrLtsv5gyF5v6s22E8T0qhkVAPne2gEsH-N7s5pdxlKrLpfwMb2II_EIroDTDihMkyCV_h8d_J0E4Z5LpLX4W7eQuGMHdUNc1iBlFk5b0b7hC_Ewd-1yz7fhaZplMUON7FbpN1R7KMrmGXFgL6tOJhWM');
CREATE TABLE endpoints (
    tenant_id TEXT NOT NULL REFERENCES tenants (tenant_id),
    endpoint_id TEXT NOT NULL,
    url TEXT NOT NULL,
    types TEXT,
    sealed_secret TEXT NOT NULL,
    paused BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    removed_at BIGINT, format TEXT NOT NULL DEFAULT 'standard', sealed_old_secret TEXT, old_secret_until BIGINT NOT NULL DEFAULT 0, failing_since BIGINT, failures BIGINT NOT NULL DEFAULT 0, disabled_at BIGINT,
    PRIMARY KEY (tenant_id, endpoint_id)
);
INSERT INTO endpoints VALUES('acme','ep_01m8f20tjz0jj5sw6dmcs3gwjt','http://127.0.0.1:9/hook',NULL,'em9-MX_dO7jZLs77W9LbeADh1L4BfA-sX1SCt7mYyK3LWz_yu-SnoqB9bZPB9EFy21VXPo0_BmSUejoYoYZvANHGMg5zU-Objgry9Vpm',0,1795801770591307,NULL,'standard',NULL,0,1795801770623375,6,NULL);
CREATE TABLE deliveries (
    tenant_id TEXT NOT NULL,
    event_id TEXT NOT NULL,
    endpoint_id TEXT NOT NULL,
    queue TEXT NOT NULL,
    sequence BIGINT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('waiting', 'due', 'delivered', 'failed')),
    attempts BIGINT NOT NULL DEFAULT 0,
    due_at BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    finished_at BIGINT, tried_at BIGINT, claimed_by TEXT,
    PRIMARY KEY (tenant_id, event_id, endpoint_id)
);
INSERT INTO deliveries VALUES('acme','evt_01m8f20tkn1rxhgttn3gxmcav7','ep_01m8f20tjz0jj5sw6dmcs3gwjt','gp_01m8f20tknfa9kbk3hcm1nsdeb',1,'due',3,1795801797138364,1795801770613758,NULL,1795801770621822,NULL);
INSERT INTO deliveries VALUES('acme','evt_01m8f20tmtpw2x2bqwxy229f2e','ep_01m8f20tjz0jj5sw6dmcs3gwjt','gp_01m8f20tmtg4ytyd4wrs2f98k1',1,'due',3,1795801796188932,1795801770650871,NULL,1795801770659145,NULL);
INSERT INTO deliveries VALUES('acme','evt_01m8f20tv4k32mckr0hq962jwq','ep_01m8f20tjz0jj5sw6dmcs3gwjt','gp_01m8f20tknfa9kbk3hcm1nsdeb',2,'waiting',0,1795801770852380,1795801770852380,NULL,NULL,NULL);
INSERT INTO deliveries VALUES('acme','evt_01m8f20xfeha60c1bs8rr5jtss','ep_01m8f20tjz0jj5sw6dmcs3gwjt','gp_01m8f20tknfa9kbk3hcm1nsdeb',3,'waiting',0,1795801773550307,1795801773550307,NULL,NULL,NULL);
INSERT INTO deliveries VALUES('acme','evt_01m8f21bwe0wbttzyh95kyb8j5','ep_01m8f20tjz0jj5sw6dmcs3gwjt','gp_01m8f20tknfa9kbk3hcm1nsdeb',4,'waiting',0,1795801788302607,1795801788302607,NULL,NULL,NULL);
CREATE TABLE erasures (
    tenant_id TEXT PRIMARY KEY REFERENCES tenants (tenant_id),
    erasure_id TEXT NOT NULL,
    begun_at BIGINT NOT NULL,
    finished_at BIGINT,
    erased TEXT NOT NULL
);
CREATE TABLE audit (
    audit_id TEXT PRIMARY KEY,
    occurred_at BIGINT NOT NULL,
    actor TEXT NOT NULL,
    act TEXT NOT NULL,
    tenant_id TEXT,
    object TEXT,
    request_id TEXT
);
INSERT INTO audit VALUES('aud_01m8f20swgmq4st2jvsk9dxent',1795801769872447,'command line','tenant.create','acme','AC1',NULL);
INSERT INTO audit VALUES('aud_01m8f20swtzk2c5a25a3z6adj5',1795801769882794,'command line','number.add','acme','+…01',NULL);
INSERT INTO audit VALUES('aud_01m8f20t55x2b9e7c8rp2g0yet',1795801770149975,'command line','number.add','acme','+…02',NULL);
CREATE TABLE idempotency_keys (
    tenant_id TEXT NOT NULL REFERENCES tenants (tenant_id),
    key_digest TEXT NOT NULL,
    request_digest TEXT NOT NULL,
    taken_at BIGINT NOT NULL,
    status BIGINT,
    content_type TEXT,
    answer TEXT, greenpin_id TEXT,
    PRIMARY KEY (tenant_id, key_digest)
) WITHOUT ROWID;
INSERT INTO idempotency_keys VALUES('acme','4038d57757a415fc72aec2f605a8ddef2afb874c116cb5da6674d6772ce41d99','3e292ca9a14e547d5b4d2de248ef2e8e4e2be332f273d24eb672dcf1d99d624d',1795801770612535,201,'application/json','6CYa89Aq0E6MkBiwOMn3iSbR_GBEbPmIISDZQChViMV48faLAGGafKkfHXx1307DcwTsqTEpmEbjCIXaqKMO94OCu8zejl92yBadW3I9GgSbPW6EVJooYhbfXrCmog-uiY0WNrGsFucnjPXFnUbBpUhU7O-OcU0a-FENdd5ssxhxjBz-BWjTLZ72ykYW0n7ofnF78JCFeOWOIHLYJyu0jdtiyBq79p5PsQ-uvtoA38xx8hHkbPzNh-tX25ZtS7nRewFmu4tnSLB9CsB50ZzK7RZCOHtjPlohED7CyZ_26ZonsijRbwtmz89hnROm2cEp7zwEy1a6UaFL4RnUkseVaItvXu9OSUXPPr-510m-hlEINXzXCd4Ly4_SKLYuDG5SKNRRP2UyXgkJDzkd9656wsqiXt5ZrCseTIvSkG-IeJ6y6g16iLRgWODb-p9kzcjOv1XJWwi7dhQ7-fDgKzfK3jQJGv2a2nugd_K7r0zdQl4pmkx43hA0tkolnjVUBRtY9VFSMZErcAv9_0Qk9Vw','gp_01m8f20tknfa9kbk3hcm1nsdeb');
CREATE TABLE nodes (
    node TEXT PRIMARY KEY,
    life TEXT NOT NULL,
    beat BIGINT NOT NULL,
    seen_at BIGINT NOT NULL
);
CREATE TABLE prompts (
    tenant_id TEXT NOT NULL REFERENCES tenants (tenant_id),
    name TEXT NOT NULL,
    audio TEXT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, name)
);
CREATE TABLE attempts (
    tenant_id TEXT NOT NULL REFERENCES tenants (tenant_id),
    event_id TEXT NOT NULL,
    endpoint_id TEXT NOT NULL,
    begun_at BIGINT NOT NULL,
    latency BIGINT NOT NULL,
    status BIGINT,
    error TEXT,
    sealed_answer TEXT NOT NULL,
    PRIMARY KEY (tenant_id, event_id, endpoint_id, begun_at)
) WITHOUT ROWID;
INSERT INTO attempts VALUES('acme','evt_01m8f20tkn1rxhgttn3gxmcav7','ep_01m8f20tjz0jj5sw6dmcs3gwjt',1795801770623200,174,NULL,'no_connection','uJai4lGTktnqCMvWXXbV5hzttUOfm954pYISfg');
INSERT INTO attempts VALUES('acme','evt_01m8f20tkn1rxhgttn3gxmcav7','ep_01m8f20tjz0jj5sw6dmcs3gwjt',1795801774560809,107,NULL,'no_connection','yxOM0JxBi6sAjYRhTIIag9vmY4kFqPstSCSeWg');
INSERT INTO attempts VALUES('acme','evt_01m8f20tkn1rxhgttn3gxmcav7','ep_01m8f20tjz0jj5sw6dmcs3gwjt',1795801783568147,216,NULL,'no_connection','LIjzxeRcglr__p-2Ri13gF8IgI83QF1_KJBoIQ');
INSERT INTO attempts VALUES('acme','evt_01m8f20tmtpw2x2bqwxy229f2e','ep_01m8f20tjz0jj5sw6dmcs3gwjt',1795801770674713,168,NULL,'no_connection','6Vw1HZ5cqRGpw5LbrV1Z91sTIkfmhR4laW5rqg');
INSERT INTO attempts VALUES('acme','evt_01m8f20tmtpw2x2bqwxy229f2e','ep_01m8f20tjz0jj5sw6dmcs3gwjt',1795801774559168,214,NULL,'no_connection','_B1hn1A-yLZ1k8kGPpLEsCp7N6P1Y0NxkmAKmQ');
INSERT INTO attempts VALUES('acme','evt_01m8f20tmtpw2x2bqwxy229f2e','ep_01m8f20tjz0jj5sw6dmcs3gwjt',1795801781248681,251,NULL,'no_connection','7Z7Kjp_D1gGMEzxiSj-G_Q0bJ5cTqYXclR2rxA');
CREATE TABLE uploads (
    call_sid TEXT NOT NULL PRIMARY KEY,
    node TEXT NOT NULL,
    file TEXT NOT NULL,
    tries BIGINT NOT NULL DEFAULT 0,
    due_at BIGINT NOT NULL
);
CREATE INDEX credentials_of_tenant ON credentials (tenant_id);
CREATE INDEX numbers_of_tenant ON numbers (tenant_id, number_key);
CREATE INDEX allocations_of_number ON allocations (tenant_id, number_key, greenpin_id);
CREATE INDEX allocations_to_expire ON allocations (expires_at)
    WHERE deleted_at IS NULL AND expiry_reported_at IS NULL;
CREATE INDEX strangers_by_age ON strangers (updated_at);
CREATE UNIQUE INDEX calls_by_sid ON calls (call_sid);
CREATE INDEX calls_of_allocation ON calls (tenant_id, greenpin_id, call_sid);
CREATE INDEX calls_open ON calls (node) WHERE ended_at IS NULL;
CREATE INDEX deliveries_open ON deliveries (endpoint_id, queue, sequence) WHERE state IN ('waiting', 'due');
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (taken_at);
CREATE INDEX calls_with_recording ON calls (tenant_id, call_sid) WHERE recording_file IS NOT NULL;
CREATE INDEX allocations_deleted ON allocations (tenant_id, deleted_at) WHERE deleted_at IS NOT NULL;
CREATE INDEX allocations_expired ON allocations (tenant_id, expires_at) WHERE expiry_reported_at IS NOT NULL;
CREATE INDEX pins_counted ON pins (number_key, active_until, greenpin_id) WHERE counted = 1;
CREATE INDEX deliveries_due ON deliveries (endpoint_id, due_at) WHERE state = 'due';
CREATE UNIQUE INDEX endpoints_by_id ON endpoints (endpoint_id);
CREATE INDEX attempts_by_age ON attempts (begun_at);
CREATE INDEX deliveries_dead ON deliveries (tenant_id, event_id) WHERE state = 'failed';
CREATE INDEX uploads_due ON uploads (node, due_at);
COMMIT;
