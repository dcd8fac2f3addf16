UPDATE pins SET greenpin_id = '', counted = 0 WHERE virtual_number = $1
