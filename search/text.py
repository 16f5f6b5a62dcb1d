"""Small pieces of English that messages and reports share."""

from data.text import plural as plural
