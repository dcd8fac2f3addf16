SELECT erasure_id, begun_at, finished_at, erased FROM erasures WHERE tenant_id = $1
