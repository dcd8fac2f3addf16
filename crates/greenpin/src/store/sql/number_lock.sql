UPDATE numbers SET strangers_at = strangers_at WHERE virtual_number = $1
