DELETE FROM strangers WHERE updated_at < $1 AND refused_until < $1
