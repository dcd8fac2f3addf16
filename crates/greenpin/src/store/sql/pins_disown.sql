UPDATE pins SET greenpin_id = '', counted = 0 WHERE number_key = $1
