UPDATE numbers SET strangers_at = strangers_at WHERE number_key = $1
