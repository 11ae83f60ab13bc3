"""What readers see: tables, pictures, the HTML page."""
