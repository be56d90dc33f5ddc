"""What freezing saves here, beside what it saves in the script that one would write without this project."""
