SELECT order_id, state, attempt, expires_at FROM reservation WHERE order_id = $1
