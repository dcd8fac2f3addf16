SELECT digest FROM master_key
