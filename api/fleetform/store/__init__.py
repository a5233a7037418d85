"""WHO TOUCHES THE DATABASE: Piccolo tables, migrations, transaction(), queries that turn rows into structs and back."""
