"""Inventory: stock, sale windows and reservations; the truth about units."""
