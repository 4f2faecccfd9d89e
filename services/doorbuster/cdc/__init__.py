"""Change data capture: the connectors of Debezium, made and looked after."""
